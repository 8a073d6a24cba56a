"""Forwards a request that has an idempotency key, or answers it with what the first one got."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator

import aiohttp
from starlette.types import Send

from posthorn_gateway.adapters.upstreams import Upstreams
from posthorn_gateway.app.ports import KeptAnswer
from posthorn_gateway.app.repeating import Attempt, Repeating, checked_answer
from posthorn_gateway.domain.errors import Refused, ServiceUnavailable
from posthorn_gateway.domain.idempotency import MAX_ANSWER_BYTES, was_carried_out
from posthorn_gateway.entrypoints.http.bodies import ClientLeft, RequestBody
from posthorn_gateway.entrypoints.http.forwarding import AnswerBroken, ForwardedRequest, pass_on, request_upstream
from posthorn_gateway.entrypoints.http.headers import response_headers

REPLAYED = (b"idempotent-replayed", b"true")
# What a client needs of an answer; the rest belongs to the exchange in which it was first given.
_KEPT_HEADERS = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-disposition", b"location", b"link", b"etag",
     b"last-modified", b"cache-control"}
)  # fmt: skip
OwnHeaders = list[tuple[bytes, bytes]]


async def forward_once(
    repeating: Repeating,
    scope: str,
    upstreams: Upstreams,
    request: ForwardedRequest,
    body: RequestBody,
    send: Send,
    own_headers: OwnHeaders,
) -> None:
    """Answer a request; goes on when the client leaves, so that it finds the answer when it comes again.

    Raises a Refused, ClientLeft (in the middle of its body) or AnswerBroken.
    """
    hashing = _Hashing(request)
    async with repeating.once(scope) as found:
        if isinstance(found, Attempt):
            await _carry_out(found, hashing, upstreams, request, body, send, own_headers)
            return
        await hashing.read_all(await body.open())
        answer = checked_answer(found, hashing.digest())
        headers = [*response_headers(answer.headers, own_headers), REPLAYED]
        await _send(send, answer.status, headers, answer.body)


class _Hashing:
    """Takes the digest of what makes a request the same: its query, its type and its body."""

    def __init__(self, request: ForwardedRequest) -> None:
        _path, _, query = request.target.partition("?")
        self._hash = hashlib.sha256(f"{query}\n{request.headers.get('Content-Type', '')}\n".encode())

    def wrap(self, content: bytes | AsyncGenerator[bytes] | None) -> bytes | AsyncGenerator[bytes] | None:
        """Return the content, to be taken in as it passes."""
        if isinstance(content, bytes):
            self._hash.update(content)
            return content
        return None if content is None else self._passing(content)

    async def read_all(self, content: bytes | AsyncGenerator[bytes] | None) -> None:
        """Take in a body that goes nowhere."""
        wrapped = self.wrap(content)
        if wrapped is not None and not isinstance(wrapped, bytes):
            async for _piece in wrapped:
                pass

    def digest(self) -> bytes:
        """Return the digest of what has been taken in."""
        return self._hash.digest()

    async def _passing(self, content: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for piece in content:
            self._hash.update(piece)
            yield piece


async def _carry_out(
    attempt: Attempt,
    hashing: _Hashing,
    upstreams: Upstreams,
    request: ForwardedRequest,
    body: RequestBody,
    send: Send,
    own_headers: OwnHeaders,
) -> None:
    try:
        content = hashing.wrap(await body.open())
        answer = await request_upstream(upstreams, request, content, body)
    except ServiceUnavailable as error:
        if not error.may_have_acted:
            await attempt.release()
        raise
    except (Refused, ClientLeft):  # the body did not come to its end: the service has not got a whole request
        await attempt.release()
        raise
    try:
        beginning, is_all = await _read_beginning(answer)
        if not was_carried_out(answer.status):
            await attempt.release()
        elif body.is_finished:  # else its digest is not known
            await attempt.settle(hashing.digest(), _kept(answer, beginning) if is_all else None)
        headers = response_headers(answer.raw_headers, own_headers)
        if is_all:
            await _send(send, answer.status, headers, beginning)
        else:
            await pass_on(answer, send, headers, beginning)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise AnswerBroken from error
    finally:
        answer.close()


async def _read_beginning(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return the body as far as it may be kept, and whether that is all of it."""
    pieces = bytearray()
    while not answer.content.at_eof():
        if len(pieces) > MAX_ANSWER_BYTES:
            return bytes(pieces), False
        pieces += await answer.content.readany()
    return bytes(pieces), len(pieces) <= MAX_ANSWER_BYTES


def _kept(answer: aiohttp.ClientResponse, body: bytes) -> KeptAnswer:
    headers = [(name.lower(), value) for name, value in answer.raw_headers]
    return KeptAnswer(answer.status, [item for item in headers if item[0] in _KEPT_HEADERS], body)


async def _send(send: Send, status: int, headers: OwnHeaders, body: bytes) -> None:
    sized = [item for item in headers if item[0] != b"content-length"]
    if body or status not in (204, 304):
        sized.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body, "more_body": False})
