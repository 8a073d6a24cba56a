"""Single messages in PostgreSQL. Leases and pauses are measured by the database's clock."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import messages
from posthorn_mailer.domain.errors import MessageNotFound
from posthorn_mailer.domain.messages import (
    HORIZON,
    Letter,
    Message,
    MessageClosing,
    MessageStatus,
    NewMessage,
    OpenedMessage,
)

_SHOWN = [messages.c[field.name] for field in dataclasses.fields(Message)]
_LETTER = [field.name for field in dataclasses.fields(Letter)]
_NOW = sa.func.clock_timestamp()

# An open is committed before anything is said to the relay. A dead address is found out in the same statement.
_OPEN = sa.text("""
UPDATE messages m SET
    status = CASE WHEN q.stop THEN 'suppressed' ELSE 'sending' END,
    attempt_id = :attempt_id,
    attempts = m.attempts + CASE WHEN q.stop THEN 0 ELSE 1 END,
    counted_attempts = m.counted_attempts + CASE WHEN q.stop THEN 0 ELSE 1 END,
    opened_at = clock_timestamp(),
    next_attempt_at = NULL,
    finished_at = CASE WHEN q.stop THEN clock_timestamp() END,
    lease_until = CASE WHEN q.stop THEN NULL ELSE clock_timestamp() + make_interval(secs => :lease_seconds) END
FROM (SELECT x.id, EXISTS (
        SELECT FROM suppressions s
        WHERE s.organisation_id = x.organisation_id AND s.email = x.to_email
          AND s.reason IN ('complaint', 'hard_bounce')
      ) FROM messages x WHERE x.id = :id) q(id, stop)
WHERE m.id = q.id AND m.status IN ('pending', 'deferred') AND m.next_attempt_at <= clock_timestamp()
  AND m.expires_at > clock_timestamp()
RETURNING m.*, extract(epoch FROM m.expires_at - clock_timestamp())::float8 AS expires_in
""").bindparams(sa.bindparam("attempt_id", type_=sa.Uuid), sa.bindparam("id", type_=sa.Uuid))

_DOUBT_ABANDONED = sa.text("""
UPDATE messages SET status = 'ambiguous', finished_at = clock_timestamp(), lease_until = NULL, cause = 'relay',
    html = NULL, text = ''
WHERE status = 'sending' AND lease_until < clock_timestamp()
""")
_EXPIRE = sa.text("""
UPDATE messages SET status = 'failed', finished_at = clock_timestamp(), next_attempt_at = NULL,
    html = NULL, text = ''
WHERE status IN ('pending', 'deferred') AND expires_at <= clock_timestamp()
""")


class SqlMessages:
    """See the port Messages."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, message: NewMessage) -> tuple[Message, bytes]:
        """Store a message; return it, or what somebody else has stored under its key meanwhile."""
        values = {
            "id": message.id,
            "organisation_id": message.organisation_id,
            "idempotency_key": message.idempotency_key,
            "fingerprint": message.fingerprint,
            "purpose": message.purpose,
            "contact_id": message.contact_id,
            "relay_id": message.relay_id,
            **dataclasses.asdict(message.letter),
            "status": MessageStatus.PENDING,
            "created_at": message.created_at,
            "next_attempt_at": _NOW,
            "expires_at": _NOW + HORIZON,
        }
        keys = ["organisation_id", "idempotency_key"]
        statement = insert(messages).values(values).on_conflict_do_nothing(index_elements=keys)
        await self._connection.execute(statement)
        stored = await self.by_key(message.organisation_id, message.idempotency_key)
        if stored is None:
            raise MessageNotFound
        return stored

    async def by_key(self, organisation_id: UUID, idempotency_key: str) -> tuple[Message, bytes] | None:
        """Return the message and the fingerprint of the request that made it."""
        query = sa.select(*_SHOWN, messages.c.fingerprint).where(
            messages.c.organisation_id == organisation_id, messages.c.idempotency_key == idempotency_key
        )
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else (_message(row), row["fingerprint"])

    async def get(self, organisation_id: UUID, message_id: UUID) -> Message:
        """Return a message of the organisation. Raises MessageNotFound."""
        query = sa.select(*_SHOWN).where(messages.c.organisation_id == organisation_id, messages.c.id == message_id)
        row = (await self._connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise MessageNotFound
        return _message(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Message]:
        """Return messages, the newest first, before `after`."""
        query = sa.select(*_SHOWN).where(messages.c.organisation_id == organisation_id)
        if after is not None:
            query = query.where(messages.c.id < after)
        rows = await self._connection.execute(query.order_by(messages.c.id.desc()).limit(limit))
        return [_message(row) for row in rows.mappings()]

    async def due_route(self, message_id: UUID) -> tuple[UUID, UUID | None] | None:
        """Return organisation and relay of a message that is to be sent now; None if it is not."""
        query = sa.select(messages.c.organisation_id, messages.c.relay_id).where(messages.c.id == message_id, *_due(0))
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else (row.organisation_id, row.relay_id)

    async def open(self, message_id: UUID, attempt_id: UUID, lease_seconds: float) -> OpenedMessage | None:
        """Mark the message as being sent. None: somebody else has it, or it is not to be sent."""
        values = {"id": message_id, "attempt_id": attempt_id, "lease_seconds": lease_seconds}
        row = (await self._connection.execute(_OPEN, values)).mappings().one_or_none()
        if row is None or row["status"] != MessageStatus.SENDING:
            return None
        return OpenedMessage(
            id=row["id"],
            organisation_id=row["organisation_id"],
            letter=Letter(**{name: row[name] for name in _LETTER}),
            created_at=row["created_at"],
            attempts=row["counted_attempts"],
            expires_in_seconds=row["expires_in"],
        )

    async def renew(self, message_id: UUID, attempt_id: UUID, lease_seconds: float) -> None:
        """Make the lease last longer, if it is still ours."""
        change = sa.update(messages).where(
            messages.c.id == message_id, messages.c.attempt_id == attempt_id, messages.c.status == MessageStatus.SENDING
        )
        await self._connection.execute(change.values(lease_until=_after(lease_seconds)))

    async def close(self, message_id: UUID, attempt_id: UUID, closing: MessageClosing) -> bool:
        """Store what became of the attempt; False if it had been given up and nothing certain is known now."""
        certain = closing.status in {MessageStatus.SENT, MessageStatus.BOUNCED, MessageStatus.FAILED}
        states = [MessageStatus.SENDING, *([MessageStatus.AMBIGUOUS] if certain else [])]
        delay = closing.delay_seconds
        # A recipient who has been erased meanwhile is named by no reply, and is not written to again.
        is_erased = messages.c.to_email == ""
        over = MessageStatus.SUPPRESSED if delay is not None else closing.status
        values: dict[str, Any] = {
            "status": sa.case((is_erased, over), else_=closing.status),
            "smtp_code": closing.attempt.code,
            "enhanced_code": closing.attempt.enhanced,
            "reply": sa.case((is_erased, None), else_=closing.attempt.text),
            "cause": closing.cause,
            "counted_attempts": messages.c.counted_attempts - (0 if closing.counted else 1),
            "lease_until": None,
            "next_attempt_at": None if delay is None else sa.case((is_erased, None), else_=_after(delay)),
            "finished_at": _NOW if delay is None else sa.case((is_erased, _NOW), else_=None),
            # What was in it is nobody's business once it is over.
            **({"html": None, "text": ""} if delay is None else {}),
        }
        change = sa.update(messages).where(
            messages.c.id == message_id, messages.c.attempt_id == attempt_id, messages.c.status.in_(states)
        )
        return (await self._connection.execute(change.values(values))).rowcount > 0

    async def is_erased(self, message_id: UUID) -> bool:
        """Whether the recipient has been erased."""
        query = sa.select(messages.c.to_email == "").where(messages.c.id == message_id)
        return bool(await self._connection.scalar(query))

    async def fail(self, message_id: UUID, reply: str) -> None:
        """Give up a message that is not being sent."""
        values = {
            "status": MessageStatus.FAILED,
            "finished_at": _NOW,
            "next_attempt_at": None,
            "reply": reply,
            "cause": "relay",
            "html": None,
            "text": "",
        }
        await self._connection.execute(sa.update(messages).where(*_waiting(message_id)).values(values))

    async def postpone(self, message_id: UUID, seconds: float) -> None:
        """Let the message wait."""
        change = sa.update(messages).where(*_waiting(message_id)).values(next_attempt_at=_after(seconds))
        await self._connection.execute(change)

    async def due(self, *, overdue_seconds: float, limit: int) -> list[UUID]:
        """Return messages that are due for at least `overdue_seconds`, those that wait longest first."""
        query = sa.select(messages.c.id).where(*_due(overdue_seconds))
        return list(await self._connection.scalars(query.order_by(messages.c.next_attempt_at).limit(limit)))

    async def doubt_abandoned(self) -> int:
        """Mark messages whose sender's lease has run out as ambiguous, and give up those whose time is over."""
        doubted = await self._connection.execute(_DOUBT_ABANDONED)
        await self._connection.execute(_EXPIRE)
        return int(doubted.rowcount)


def _due(overdue_seconds: float) -> tuple[sa.ColumnElement[bool], ...]:
    waiting = messages.c.status.in_(("pending", "deferred"))
    return waiting, messages.c.next_attempt_at <= sa.func.now() - sa.func.make_interval(
        0, 0, 0, 0, 0, 0, overdue_seconds
    )


def _waiting(message_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return messages.c.id == message_id, messages.c.status.in_(("pending", "deferred"))


def _after(seconds: float) -> sa.ColumnElement[Any]:
    return _NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _message(row: sa.RowMapping) -> Message:
    values = {column.name: row[column.name] for column in _SHOWN}
    return Message(**{**values, "status": MessageStatus(row["status"])})
