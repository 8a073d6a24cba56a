"""A relay that misbehaves as a script says, and what tests need to send through it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from uuid import uuid4

from posthorn_mailer.adapters.smtp import Dialling, ReuseLimits, SmtpMailTransport, SmtpTimeouts, TlsContexts
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.relays import Relay, TlsMode

SHORT = 0.3
CONTENT = b"Subject: Hello\r\n\r\nDear friend,\r\n.a dot\r\n..two\r\n"
NO_REPLY = "No reply in time"
LOST = "The connection was lost"
_LONG = 30.0
_BETWEEN_DROPS = 0.02
_EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def eventually(true: Callable[[], object]) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Peer:
    """A relay that answers by a script: per command a reply, a silence, a hang-up, or something worse."""

    def __init__(self, script: dict[str, object] | None = None, *, extensions: Sequence[str] = ("8BITMIME",)) -> None:
        self.script: dict[str, object] = dict(script or {})
        self.extensions = tuple(extensions)
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        self.said = ""
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def listening(
        self, *, host: str = "127.0.0.1", implicit: ssl.SSLContext | None = None
    ) -> AsyncGenerator[Peer]:
        server = await asyncio.start_server(self._accept, host, 0, ssl=implicit)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                if await self._answer("banner", "220 peer ready", writer):
                    await self._talk(reader, writer)
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                # After a handshake that was broken off asyncio never tells that the connection is closed.
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient_held = False
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.commands.append(line)
            verb = line.split(" ")[0].upper()
            if verb == "BDAT":
                await self._take_chunk(int(line.split(" ")[1]), reader, writer, refuse=not recipient_held)
                continue
            default = {
                "EHLO": self._ehlo(),
                "STARTTLS": "220 go on",
                "DATA": "354 go on" if recipient_held else "554 5.5.1 no valid recipients",
                "QUIT": "221 bye",
                "AUTH": "235 2.7.0 welcome",
            }
            upgrade = verb == "STARTTLS" and str(self.script.get(verb, "220")).startswith("220")
            if upgrade:
                writer.transport.pause_reading()  # the client's first bytes belong to the TLS layer
            if not await self._answer(verb, default.get(verb, "250 2.0.0 ok"), writer) or verb == "QUIT":
                return
            if upgrade:
                assert self.tls is not None
                await writer.start_tls(self.tls)
            if verb in {"RCPT", "RSET"}:
                recipient_held = verb == "RCPT" and self.said.startswith("250")
            if verb == "DATA" and self.said.startswith("354"):
                self.contents.append(await self._read_content(reader))
                if not await self._answer("dot", "250 2.0.0 queued", writer):
                    return

    @staticmethod
    async def _read_content(reader: asyncio.StreamReader) -> bytes:
        lines = [await reader.readuntil(b"\r\n")]
        while lines[-1] != b".\r\n":
            lines.append(await reader.readuntil(b"\r\n"))
        return b"".join(lines)

    async def _take_chunk(
        self, size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, refuse: bool
    ) -> None:
        chunk = await reader.readexactly(size)
        if refuse:
            await self._answer("BDAT", "503 5.5.1 no recipient", writer)
            return
        self.contents.append(chunk)
        if not await self._answer("dot", "250 2.0.0 queued", writer):
            raise ConnectionAbortedError

    @staticmethod
    def pause_reading(writer: asyncio.StreamWriter) -> None:
        """Let the client's next bytes wait in its own buffers."""
        writer.transport.pause_reading()

    def _ehlo(self) -> str:
        return "\r\n".join(["250-peer", *(f"250-{name}" for name in self.extensions), "250 HELP"])

    async def _answer(self, step: str, default: str, writer: asyncio.StreamWriter) -> bool:
        """Answer a step; False ends the connection."""
        order = self.script.get(step, default)
        if isinstance(order, list):
            order = order.pop(0) if order else default
        if order == "close":
            return False
        if order == "reset":
            writer.transport.abort()
            return False
        if order == "silence":
            await asyncio.sleep(_LONG)
            return False
        if isinstance(order, float):
            await asyncio.sleep(order)
            order = default
        self.said = str(order)
        return await self._say(self.said, writer)

    async def _say(self, text: str, writer: asyncio.StreamWriter) -> bool:
        """Say it, as its first word tells; False ends the connection."""
        way, _, words = text.partition(" ")
        if way == "cut":  # without the end of the line, if it has none
            writer.write(words.encode())
            return False
        if way == "half":
            writer.write(words.encode() + b"\r\n")
            await asyncio.sleep(_LONG)
            return False
        if way == "drip":
            await self._slowly([words.encode()] * int(_LONG / _BETWEEN_DROPS), _BETWEEN_DROPS, writer)
            return False
        if way == "bytewise":
            await self._slowly([bytes([byte]) for byte in (words + "\r\n").encode()], 0.001, writer)
            return True
        writer.write(text.encode("utf-8", "surrogateescape") + b"\r\n")
        await writer.drain()
        return not text.startswith("421")

    @staticmethod
    async def _slowly(drops: Sequence[bytes], pause: float, writer: asyncio.StreamWriter) -> None:
        for drop in drops:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(pause)


def a_relay(port: int, **changes: object) -> Relay:
    values: dict[str, object] = {
        "id": uuid4(),
        "organisation_id": uuid4(),
        "name": "Peer",
        "host": "127.0.0.1",
        "port": port,
        "tls": TlsMode.NONE,
        "verify_certificate": True,
        "username": None,
        "max_connections": 5,
        "messages_per_second": None,
        "from_email": None,
        "is_default": True,
        "weight": 0,
        "warm_up": None,
        "version": 1,
        "created_at": _EPOCH,
        "updated_at": _EPOCH,
        **changes,
    }
    return Relay(**values)  # type: ignore[arg-type]


async def the_password(_relay: Relay) -> str:
    return "pässword"


def _timeouts(seconds: float = 5.0) -> SmtpTimeouts:
    return SmtpTimeouts(*([seconds] * 9), quit=0.5)


@contextlib.asynccontextmanager
async def a_transport(
    *,
    seconds: float = 5.0,
    timeouts: SmtpTimeouts | None = None,
    ca_file: Path | None = None,
    allow_internal: bool = True,
    **reuse: float,
) -> AsyncGenerator[SmtpMailTransport]:
    dialling = Dialling(the_password, TlsContexts(ca_file), ehlo_name="client.test", allow_internal=allow_internal)
    limits = ReuseLimits(**{"messages": 500, "idle_seconds": 20.0, **reuse})  # type: ignore[arg-type]
    transport = SmtpMailTransport(dialling, timeouts=timeouts or _timeouts(seconds), reuse=limits)
    try:
        yield transport
    finally:
        await transport.close()


def a_message(recipient: str = "friend@example.com", content: bytes = CONTENT) -> OutgoingMessage:
    return OutgoingMessage("sender@example.org", recipient, content)
