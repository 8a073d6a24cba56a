"""The HTTP server's own checks, before any request exists for the application."""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_TARGET_BYTES = 16 * 1024
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100


_REFUSAL = orjson.dumps(
    {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "code": "malformed_request",
        "detail": "The request is not valid HTTP, or its head is too large.",
    }
)
_REFUSAL_HEADERS = (
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(_REFUSAL)).encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


class Malformed(Exception):
    """The request's head is not acceptable; the server answers 400 and closes the connection."""


class StrictHttpProtocol(HttpToolsProtocol):
    """Refuses heads that are too large, and targets that are not path and query.

    uvicorn itself would take the path out of an absolute address, drop the rest and any fragment, and wait for ever for
    a head that does not end.
    """

    head_seconds = 30.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        """Answer a request that never became one, as a problem document too."""
        head = b"HTTP/1.1 400 Bad Request\r\n" + b"".join(
            name + b": " + value + b"\r\n" for name, value in [*self.server_state.default_headers, *_REFUSAL_HEADERS]
        )
        self.transport.write(head + b"\r\n" + _REFUSAL)
        self.transport.close()

    def on_message_begin(self) -> None:
        """Start to count."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise Malformed("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            raise Malformed("headers too large")

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._stop_waiting()
        if not self.url.startswith(b"/") or b"#" in self.url:
            raise Malformed("target is not path and query")
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
