"""Passes one request to a service and its answer back, piece by piece, and stops when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import structlog
from multidict import CIMultiDict
from starlette.types import Send

from posthorn_gateway.adapters.upstreams import Upstreams
from posthorn_gateway.domain.errors import ServiceUnavailable
from posthorn_gateway.domain.routes import Route
from posthorn_gateway.entrypoints.http.bodies import ClientLeft, RequestBody
from posthorn_gateway.entrypoints.http.headers import response_headers
from posthorn_gateway.entrypoints.http.metrics import UPSTREAM_SECONDS

log = structlog.get_logger(__name__)


class AnswerBroken(Exception):
    """The service's answer ended in the middle; all that is left is to end the client's connection."""


class StreamClosed(Exception):
    """The gateway ends a stream because it is about to stop; an answer that has begun needs its end."""

    def __init__(self, service: str) -> None:
        super().__init__(service)
        self.instead = ServiceUnavailable(service)


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """What is sent to the service."""

    route: Route
    method: str
    target: str
    headers: CIMultiDict[str]


async def forward(
    upstreams: Upstreams,
    request: ForwardedRequest,
    body: RequestBody,
    send: Send,
    own_headers: list[tuple[bytes, bytes]],
    *,
    closing: asyncio.Event,
) -> None:
    """Answer a request with the service's answer; a stream ends early when `closing` is set.

    Raises a Refused if there is none, ClientLeft, StreamClosed or AnswerBroken. After these the service's connection is
    closed, so that it stops working for nobody.
    """
    content = await body.open()
    async with _while_wanted(request.route, body, closing):
        answer = await request_upstream(upstreams, request, content, body)
        try:
            await pass_on(answer, send, response_headers(answer.raw_headers, own_headers))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log_failure(request.route, "answer_broken", error)
            raise AnswerBroken from error
        else:
            if body.is_finished:
                answer.release()
        finally:
            answer.close()  # nothing happens to an answer that was read to its end


async def request_upstream(
    upstreams: Upstreams, request: ForwardedRequest, content: bytes | AsyncIterable[bytes] | None, body: RequestBody
) -> aiohttp.ClientResponse:
    """Return the service's answer, of which the body is still to be read. Raises a Refused, or what the body raised."""
    started = time.perf_counter()
    try:
        answer = await upstreams.request(
            request.route.service,
            request.method,
            request.target,
            request.headers,
            content,
            is_stream=request.route.is_stream,
        )
    except ServiceUnavailable as error:
        if body.failure is not None:  # the body's fault, not the service's
            raise body.failure from None
        _log_failure(request.route, error.code, error.__cause__)
        raise
    UPSTREAM_SECONDS.labels(request.route.service).observe(time.perf_counter() - started)
    return answer


async def pass_on(
    answer: aiohttp.ClientResponse, send: Send, headers: list[tuple[bytes, bytes]], beginning: bytes = b""
) -> None:
    """Send the answer to the client; `beginning` is what has been read of its body."""
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if beginning:
        await send({"type": "http.response.body", "body": beginning, "more_body": True})
    content = answer.content
    more = True
    while more:
        piece = await content.readany()
        more = not content.at_eof()
        await send({"type": "http.response.body", "body": piece, "more_body": more})


def _log_failure(route: Route, code: str, cause: BaseException | None) -> None:
    log.warning("upstream_failed", upstream=route.service, code=code, error=type(cause).__name__)


@contextlib.asynccontextmanager
async def _while_wanted(route: Route, body: RequestBody, closing: asyncio.Event) -> AsyncGenerator[None]:
    """Cancel the block when the client leaves, or a stream has to end; raise ClientLeft or StreamClosed instead."""
    working = asyncio.current_task()
    reason: Exception | None = None

    async def cancel_after(happening: Callable[[], Awaitable[object]], why: Exception) -> None:
        nonlocal reason
        await happening()
        if reason is None and working is not None:
            reason = why
            working.cancel()

    watching = [asyncio.create_task(cancel_after(body.client_left, ClientLeft()))]
    if route.is_stream:
        watching.append(asyncio.create_task(cancel_after(closing.wait, StreamClosed(route.service))))
    try:
        yield
    except asyncio.CancelledError:
        if reason is not None and working is not None and working.uncancel() == 0:
            raise reason from None
        raise
    finally:
        for watcher in watching:
            watcher.cancel()
