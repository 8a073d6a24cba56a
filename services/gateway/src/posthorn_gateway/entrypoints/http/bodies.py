"""A request's body on its way through: never more of it in memory than one piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from starlette.types import Receive

from posthorn_gateway.domain.errors import BodyTooLarge, BodyTooSlow


class ClientLeft(Exception):
    """The client closed its connection."""


class RequestBody:
    """Reads a body as it arrives, counts it, and notices when the client leaves.

    No pause may be longer than `idle_seconds`, and the whole must be there after `seconds`: a client that sends a byte
    now and then does not stay for ever.
    """

    def __init__(
        self,
        receive: Receive,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        limit: int,
        idle_seconds: float,
        seconds: float,
    ) -> None:
        self._receive = receive
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + seconds
        self._length, self._is_chunked = _framing(headers)
        self._read_bytes = 0
        self.failure: Exception | None = None
        """Why reading ended before the body did."""
        self._finished = asyncio.Event()

    async def open(self) -> bytes | AsyncGenerator[bytes] | None:
        """Return the body: nothing, all of it where it is there already, else a stream.

        Raises BodyTooLarge, BodyTooSlow or ClientLeft; the stream keeps what it raises in `failure`.
        """
        if self._length is not None and self._length > self._limit:
            raise BodyTooLarge(self._limit)
        if not self._length and not self._is_chunked:
            self._finished.set()
            return None
        first, more = await self._next()
        if not more:
            self._finished.set()
            return first or None
        return self._stream(first)

    async def client_left(self) -> None:
        """Return when the client has closed its connection; after the body, which tells itself."""
        await self._finished.wait()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return

    @property
    def is_finished(self) -> bool:
        """Whether all of it has been read."""
        return self._finished.is_set()

    async def _stream(self, first: bytes) -> AsyncGenerator[bytes]:
        try:
            if first:
                yield first
            more = True
            while more:
                piece, more = await self._next()
                if piece:
                    yield piece
        except (BodyTooLarge, BodyTooSlow, ClientLeft) as error:
            self.failure = error
            raise
        self._finished.set()

    async def _next(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout_at(min(self._until, self._loop.time() + self._idle_seconds)):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTooSlow from error
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece: bytes = message.get("body", b"")
        self._read_bytes += len(piece)
        if self._read_bytes > self._limit:
            raise BodyTooLarge(self._limit)
        return piece, bool(message.get("more_body", False))


def _framing(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    """Return the announced length, if any, and whether the body comes in chunks."""
    length, is_chunked = None, False
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"transfer-encoding":
            is_chunked = True
    return length, is_chunked
