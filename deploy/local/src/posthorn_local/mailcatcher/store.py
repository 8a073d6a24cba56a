"""Caught messages in SQLite. One thread writes, many messages in one transaction when they come fast."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    envelope_from TEXT NOT NULL,
    envelope_to TEXT NOT NULL,  -- JSON array
    subject TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_at TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS recipients (
    address TEXT NOT NULL,  -- case-folded
    message INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (address, message)
) WITHOUT ROWID;
"""
_PAGE = """
SELECT id, envelope_from, envelope_to, subject, message_id, received_at
FROM messages
WHERE (:recipient IS NULL OR id IN (SELECT message FROM recipients WHERE address = :recipient))
  AND (:subject IS NULL OR instr(lower(subject), lower(:subject)) > 0)
  AND (:cursor IS NULL OR id < :cursor)
ORDER BY id DESC
LIMIT :limit
"""


@dataclass(frozen=True)
class IncomingMessage:
    """An accepted message that is to be kept."""

    envelope_from: str
    envelope_to: Sequence[str]
    subject: str
    message_id: str
    raw: bytes


@dataclass(frozen=True)
class MessageSummary:
    """A kept message without its content; `received_at` is RFC 3339 in UTC."""

    id: int
    envelope_from: str
    envelope_to: list[str]
    subject: str
    message_id: str
    received_at: str


@dataclass(frozen=True)
class StoredMessage(MessageSummary):
    """A kept message with its source."""

    raw: bytes


@dataclass(frozen=True)
class Statistics:
    """What has been caught. `repeated` counts the copies beyond the first of a Message-ID at one recipient."""

    accepted: int
    recipients: int
    by_recipient_max: int
    repeated: int
    first_received_at: str | None
    last_received_at: str | None

    def as_dict(self) -> dict[str, int | str | None]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Write:
    message: IncomingMessage
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class MessageStore:
    """Messages in the SQLite file `path`; a context manager that owns the writing thread.

    Reading methods block for milliseconds: call them in a thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="message-writer")

    def __enter__(self) -> MessageStore:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        self._writer.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._writes.put(None)
        self._writer.join()

    async def keep(self, message: IncomingMessage) -> None:
        """Keep a message; returns when it is stored. Raises sqlite3.Error if it could not be."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._writes.put(_Write(message, loop, done))
        await done

    def page(
        self, *, recipient: str | None = None, subject: str | None = None, limit: int = 50, cursor: int | None = None
    ) -> tuple[list[MessageSummary], int | None]:
        """Return messages, newest first, and the cursor of the next page.

        `recipient` is a whole address, `subject` a part of one; case does not matter. `cursor` is the one that came
        with the page before.
        """
        parameters = {
            "recipient": recipient.casefold() if recipient else None,
            "subject": subject or None,
            "cursor": cursor,
            "limit": limit + 1,
        }
        with self._connection() as connection:
            rows = connection.execute(_PAGE, parameters).fetchall()
        items = [MessageSummary(**_decoded(row)) for row in rows[:limit]]
        return items, items[-1].id if len(rows) > limit else None

    def get(self, message_id: int) -> StoredMessage | None:
        """Return one message, or None."""
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM messages WHERE id = ?", (message_id,)).fetchone()
        return None if row is None else StoredMessage(**_decoded(row))

    def statistics(self) -> Statistics:
        """Count what has been caught."""
        with self._connection() as connection:
            accepted, first, last = connection.execute(
                "SELECT count(*), min(received_at), max(received_at) FROM messages"
            ).fetchone()
            recipients, most = connection.execute(
                "SELECT count(*), coalesce(max(copies), 0) FROM "
                "(SELECT count(*) AS copies FROM recipients GROUP BY address)"
            ).fetchone()
            (repeated,) = connection.execute(
                "SELECT coalesce(sum(copies - 1), 0) FROM (SELECT count(*) AS copies FROM recipients "
                "JOIN messages ON messages.id = recipients.message GROUP BY address, message_id)"
            ).fetchone()
        return Statistics(accepted, recipients, most, repeated, first, last)

    def clear(self) -> None:
        """Delete all messages."""
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM recipients")
            connection.execute("DELETE FROM messages")

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=60)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def _write_all(self) -> None:
        with self._connection() as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a power cut may cost the last messages
            ended = False
            while not ended:
                batch = [self._writes.get()]
                while not self._writes.empty():
                    batch.append(self._writes.get())
                writes = [write for write in batch if write is not None]
                ended = len(writes) < len(batch)
                error = _insert(connection, [write.message for write in writes])
                for write in writes:
                    write.loop.call_soon_threadsafe(_resolve, write.done, error)


def _insert(connection: sqlite3.Connection, messages: Sequence[IncomingMessage]) -> sqlite3.Error | None:
    received_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        with connection:
            for message in messages:
                cursor = connection.execute(
                    "INSERT INTO messages (envelope_from, envelope_to, subject, message_id, received_at, raw) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        message.envelope_from,
                        json.dumps(list(message.envelope_to)),
                        message.subject,
                        message.message_id,
                        received_at,
                        message.raw,
                    ),
                )
                addresses = {address.casefold() for address in message.envelope_to}
                connection.executemany(
                    "INSERT INTO recipients (address, message) VALUES (?, ?)",
                    [(address, cursor.lastrowid) for address in addresses],
                )
    except sqlite3.Error as error:
        return error
    return None


def _resolve(done: asyncio.Future[None], error: sqlite3.Error | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "envelope_to": json.loads(row["envelope_to"])}
