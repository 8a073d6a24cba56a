"""The SMTP side: as little as is needed to take thousands of messages per second, and the faults of the script."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from typing import cast

from posthorn_local.ports import LOOPBACK
from posthorn_local.testing.counting_relay.faults import Fault, Script, Stage

_GREETING = b"220 counting relay ESMTP\r\n"
_EHLO = (
    b"250-counting relay\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 31457280\r\n"
    b"250 ENHANCEDSTATUSCODES\r\n"
)
_OK = b"250 2.0.0 OK\r\n"
_ADDRESS = re.compile(rb":\s*<([^>]*)>")
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]+>)", re.IGNORECASE | re.MULTILINE)


class Tally:
    """What was accepted and what was refused, by address."""

    def __init__(self) -> None:
        self.script = Script()
        self.sessions: set[Session] = set()
        self.forget()

    def forget(self) -> None:
        """Start counting anew."""
        self.messages = 0
        self.accepted: dict[str, list[str]] = defaultdict(list)
        self.refused: dict[str, list[str]] = defaultdict(list)
        self.first_at = self.last_at = 0.0

    def take(self, recipients: list[str], content: bytes) -> None:
        """Count a message: from here on it is the relay's responsibility."""
        found = _MESSAGE_ID.search(content)
        message_id = found[1].decode(errors="replace") if found else ""
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        self.messages += 1
        for recipient in recipients:
            self.accepted[recipient].append(message_id)

    def follow(self, script: Script) -> None:
        """Do as the new script says. Connections that an earlier one has silenced are closed."""
        self.script = script
        for session in list(self.sessions):
            session.close_if_silent()


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = bytearray()
        self._recipients: list[str] = []
        self._in_content = False
        self._silent = False
        self._delayed = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._tally.sessions.add(self)
        if not self._fails("connect"):
            self._write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._transport = None
        self._tally.sessions.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take what is complete of the commands and the message."""
        if not self._silent:
            self._buffer += data
            self._read()

    def close_if_silent(self) -> None:
        """End a connection on which nothing would be said any more."""
        if self._silent and self._transport is not None:
            self._transport.abort()

    def _read(self) -> None:
        while self._transport is not None and not self._silent and not self._delayed:
            # A message of no lines ends with the dot alone.
            if self._in_content and self._buffer.startswith(b".\r\n"):
                end, mark = 0, 3
            else:
                separator = b"\r\n.\r\n" if self._in_content else b"\r\n"
                end, mark = self._buffer.find(separator), len(separator)
            if end < 0:
                return
            piece = bytes(self._buffer[:end])
            del self._buffer[: end + mark]
            if self._in_content:
                self._on_message(piece)
            else:
                self._on_command(piece)

    def _on_command(self, line: bytes) -> None:
        match line[:4].upper():
            case b"EHLO" | b"HELO":
                self._write(_EHLO)
            case b"MAIL":
                self._recipients = []
                if not self._fails("mail"):
                    self._write(_OK)
            case b"RCPT":
                self._on_recipient(line)
            case b"DATA":
                self._on_data()
            case b"RSET":
                self._recipients = []
                self._write(_OK)
            case b"NOOP":
                self._write(_OK)
            case b"QUIT":
                self._write(b"221 2.0.0 Bye\r\n")
                self._close()
            case _:
                self._write(b"500 5.5.2 Unknown command\r\n")

    def _on_recipient(self, line: bytes) -> None:
        found = _ADDRESS.search(line)
        if found is None:
            self._write(b"501 5.5.4 Syntax: RCPT TO:<address>\r\n")
            return
        address = found[1].decode(errors="replace")
        if not self._fails("rcpt", [address]):
            self._recipients.append(address)
            self._write(_OK)

    def _on_data(self) -> None:
        if not self._recipients:
            self._write(b"503 5.5.1 No valid recipients\r\n")
            return
        self._write(b"354 Go ahead\r\n")
        if not self._fails("content"):
            self._in_content = True

    def _on_message(self, content: bytes) -> None:
        self._in_content = False
        recipients, self._recipients = self._recipients, []
        fault = self._tally.script.at("dot")
        if fault is None or fault.taken:
            self._tally.take(recipients, content)
        if fault is not None:
            self._fail(fault, recipients)
        elif delay := self._tally.script.delay_seconds:
            self._delayed = True
            asyncio.get_running_loop().call_later(delay, self._answer_late)
        else:
            self._write(_OK)

    def _answer_late(self) -> None:
        self._delayed = False
        self._write(_OK)
        self._read()

    def _fails(self, stage: Stage, recipients: list[str] | None = None) -> bool:
        fault = self._tally.script.at(stage)
        if fault is not None:
            self._fail(fault, recipients or [])
        return fault is not None

    def _fail(self, fault: Fault, recipients: list[str]) -> None:
        if fault.action == "silence":
            self._silent = True
            self._buffer.clear()
            return
        if fault.action == "close":
            self._close()
            return
        for recipient in recipients:
            self._tally.refused[recipient].append(fault.reply)
        self._write(fault.reply.encode() + b"\r\n")
        if fault.reply.startswith("421"):
            self._close()

    def _write(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


async def serve_smtp(tally: Tally, port: int) -> asyncio.Server:
    """Listen for SMTP on loopback."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Session(tally), LOOPBACK, port, backlog=1000)
