"""The door: every request of the outside comes through here, as plain ASGI.

What the routing table knows is checked, counted and passed to its service; everything else goes to the application
inside, which has the gateway's own pages and answers 404 to the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

from posthorn_common.context import child_traceparent
from posthorn_common.http.middleware import RequestContextMiddleware
from posthorn_gateway.adapters.upstreams import Upstreams
from posthorn_gateway.app.callers import Caller, Callers
from posthorn_gateway.app.ports import RateLimiter
from posthorn_gateway.app.repeating import Repeating
from posthorn_gateway.app.revocations import Revocations
from posthorn_gateway.domain.errors import MethodNotAllowed, NoSuchPage, NotAuthenticated, Refused, RevocationsUnknown
from posthorn_gateway.domain.idempotency import checked_key, scope_of
from posthorn_gateway.domain.routes import ALL_METHODS, Entrance, Route, RoutingTable
from posthorn_gateway.domain.targets import checked_host, checked_path, checked_target
from posthorn_gateway.entrypoints.http.answers import page_headers, refusal
from posthorn_gateway.entrypoints.http.bodies import ClientLeft, RequestBody
from posthorn_gateway.entrypoints.http.cors import Cors, is_preflight, origin_of
from posthorn_gateway.entrypoints.http.forwarding import AnswerBroken, ForwardedRequest, StreamClosed, forward
from posthorn_gateway.entrypoints.http.headers import ClientReader, request_headers
from posthorn_gateway.entrypoints.http.limits import Counting, Limits
from posthorn_gateway.entrypoints.http.metrics import OPEN_REQUESTS, REQUESTS
from posthorn_gateway.entrypoints.http.repeating import forward_once

log = structlog.get_logger(__name__)

_CLIENT_LEFT_STATUS = 499
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_METRICS_PATH = "/metrics"
OwnHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class DoorParts:
    """What the door works with."""

    table: RoutingTable
    upstreams: Upstreams
    callers: Callers
    limiter: RateLimiter
    repeating: Repeating
    limits: Limits
    closing: asyncio.Event
    clients: ClientReader
    revocations: Revocations
    cors: Cors
    allowed_hosts: frozenset[str]
    idle_seconds: float
    body_seconds: float
    common_headers: OwnHeaders


@dataclass(slots=True)
class _Visit:
    """What becomes known of a request, and has to be said in its answer whatever that is."""

    origin: str | None
    organisation_id: UUID | None = None
    limit_headers: OwnHeaders = field(default_factory=list)


class Door:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, parts: DoorParts) -> None:
        self._pages = app
        self._parts = parts
        self._page_headers = page_headers(parts.common_headers)
        self._routed = RequestContextMiddleware(self._serve)
        self._preflights = RequestContextMiddleware(self._answer_preflight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        if is_preflight(scope):
            await self._preflights(scope, receive, send)
            return
        try:
            route = self._find(scope)
        except Refused as error:
            scope["posthorn.refused"] = error
            await self._routed(scope, receive, send)
            return
        if route is None:
            cors_headers = self._parts.cors.headers(origin_of(scope), None)
            await self._pages(scope, receive, _adding(send, [*self._page_headers, *cors_headers]))
            return
        scope["route"] = route  # its `path` is what the access log shows: never the path itself, which may hold a token
        await self._routed(scope, receive, send)

    def _find(self, scope: Scope) -> Route | None:
        path = checked_path(scope["raw_path"])
        if scope["method"] not in ALL_METHODS:
            raise MethodNotAllowed("There is no such method here.")
        # Decoded, as the application inside compares it.
        if scope["path"].rstrip("/") == _METRICS_PATH and not self._parts.clients.is_inside(scope):
            raise NoSuchPage
        return self._parts.table.find(scope["method"], path)

    async def _answer_preflight(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a browser that asks for leave, which is the same for every path."""
        with _counted(None, scope["method"], send) as outcome:
            answer = self._parts.cors.answer_preflight(scope)
            answer.raw_headers.extend(self._page_headers)
            await answer(scope, receive, outcome.send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is for a service, or for nobody."""
        route: Route | None = scope.get("route")
        visit = _Visit(origin_of(scope))
        with _counted(route, scope["method"], send) as outcome:
            try:
                if route is None:
                    raise scope["posthorn.refused"]
                await self._admit_and_forward(route, scope, receive, outcome.send, visit)
            except Refused as error:
                await self._refuse(error, visit, scope, receive, outcome.send)
            except StreamClosed as error:
                if outcome.has_begun:
                    await outcome.send({"type": "http.response.body", "body": b"", "more_body": False})
                else:
                    await self._refuse(error.instead, visit, scope, receive, outcome.send)
            except ClientLeft:
                outcome.status = _CLIENT_LEFT_STATUS
                bind_contextvars(client_left=True)
            except AnswerBroken:
                # Nothing can be said any more; the server closes the connection of an answer without an end.
                bind_contextvars(answer_broken=True)

    async def _refuse(self, error: Refused, visit: _Visit, scope: Scope, receive: Receive, send: Send) -> None:
        answer = refusal(error)
        answer.raw_headers.extend([*self._page_headers, *self._visit_headers(visit)])
        await answer(scope, receive, send)

    def _visit_headers(self, visit: _Visit) -> OwnHeaders:
        return [*visit.limit_headers, *self._parts.cors.headers(visit.origin, visit.organisation_id)]

    async def _admit_and_forward(self, route: Route, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        parts = self._parts
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        host = checked_host([_text(value) for name, value in headers if name == b"host"], parts.allowed_hosts)
        target = checked_target(scope["raw_path"], scope["query_string"])
        client = parts.clients.read(scope, host)
        counting = Counting(parts.limiter, parts.limits, client.address)
        try:
            caller = await self._admit(route, scope["method"], headers, counting, visit)
        finally:
            visit.limit_headers = counting.headers()
        own_headers = [*parts.common_headers, *self._visit_headers(visit)]
        context = get_contextvars()
        forwarded = request_headers(
            headers,
            client,
            access_token=caller.access_token if caller else None,
            request_id=str(context["request_id"]),
            traceparent=child_traceparent(context["traceparent"]),
        )
        body = RequestBody(
            receive, headers, limit=route.max_body_bytes, idle_seconds=parts.idle_seconds, seconds=parts.body_seconds
        )
        request = ForwardedRequest(route, scope["method"], target, forwarded)
        key = _idempotency_key(headers) if caller is not None and request.method == "POST" else None
        if caller is None or key is None:
            await forward(parts.upstreams, request, body, send, own_headers, closing=parts.closing)
            return
        who = caller.principal
        kept_under = scope_of(who.organisation_id, who.subject_id, target.partition("?")[0], key)
        await forward_once(parts.repeating, kept_under, parts.upstreams, request, body, send, own_headers)

    async def _admit(
        self, route: Route, method: str, headers: list[tuple[bytes, bytes]], counting: Counting, visit: _Visit
    ) -> Caller | None:
        """Return the caller, None where nobody needs to say who they are. Raises Refused."""
        if route.entrance is Entrance.BEARER:
            await counting.stranger()
            caller = await self._parts.callers.identify(_credential(headers), counting.sign_in)
            visit.organisation_id = caller.principal.organisation_id
            bind_contextvars(organisation_id=str(visit.organisation_id))
            await counting.caller(caller.principal)
            if route.is_admin and method not in _READING and self._parts.revocations.are_stale():
                raise RevocationsUnknown
            return caller
        if route.entrance is Entrance.SIGN_IN:
            await counting.sign_in()
        elif route.entrance is Entrance.RECIPIENT:
            await counting.recipient()
        return None


class _Outcome:
    """Sees the status of an answer on its way out."""

    def __init__(self, send: Send) -> None:
        self.status = 500
        self.has_begun = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.has_begun = True
        await self._send(message)


@contextlib.contextmanager
def _counted(route: Route | None, method: str, send: Send) -> Generator[_Outcome]:
    outcome = _Outcome(send)
    service = route.service if route else "none"
    # A pipelined request starts in the context of the one before.
    unbind_contextvars("organisation_id", "client_left", "answer_broken")
    bind_contextvars(upstream=str(service))
    OPEN_REQUESTS.labels(service).inc()
    try:
        yield outcome
    finally:
        OPEN_REQUESTS.labels(service).dec()
        known_method = method if method in ALL_METHODS else "other"
        REQUESTS.labels(service, known_method, f"{outcome.status // 100}xx").inc()


def _adding(send: Send, headers: OwnHeaders) -> Send:
    """Return `send` with headers added to the answer where it has none of the name; `Vary` is a list."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _value in message.get("headers", ())}
            added = [item for item in headers if item[0] not in present or item[0] == b"vary"]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers


def _credential(headers: list[tuple[bytes, bytes]]) -> str | None:
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    scheme, _, credential = found[0].partition(b" ")
    if len(found) > 1 or scheme.lower() != b"bearer":
        raise NotAuthenticated
    return _text(credential.strip())


def _idempotency_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    return checked_key([_text(value) for name, value in headers if name == b"idempotency-key"])


def _text(value: bytes) -> str:
    return value.decode("latin-1")
