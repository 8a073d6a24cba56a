"""Request ids, trace context and one canonical log line per request, as plain ASGI."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from posthorn_common.auditing import audited
from posthorn_common.clock import new_id
from posthorn_common.context import child_traceparent
from posthorn_common.http.problems import problem_response, temporarily_unavailable
from posthorn_common.transient import is_transient

log = structlog.get_logger("posthorn.http")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{8,128}")
_QUIET_PATHS = ("/health/", "/metrics")


def _internal_error() -> Response:
    return problem_response(500, "internal_error", "Something went wrong on our side.")


class RequestContextMiddleware:
    """Bind `request_id`, `correlation_id` and `traceparent`, return the request id, write the access log.

    A well-formed `X-Request-ID` of the caller is kept, so that one id follows a request through all services.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(new_id())
        trace = child_traceparent(headers.get("traceparent"))
        with bound_contextvars(request_id=request_id, correlation_id=request_id, traceparent=trace), audited(None):
            await self._handle(scope, receive, send, request_id)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        failed = False
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            failed = True
            away = is_transient(error)
            _log_request(scope, status or (503 if away else 500), started, error)
            if status:
                raise  # the answer has begun: all that is left is to break the connection
            answer = temporarily_unavailable() if away else _internal_error()
            await answer(scope, receive, send_with_id)
        finally:
            if not failed:
                _log_request(scope, status, started)


def _log_request(scope: Scope, status: int, started: float, error: Exception | None = None) -> None:
    if scope["path"].startswith(_QUIET_PATHS):
        return
    facts: dict[str, object] = {}
    write = log.info
    if error is not None:
        # What is away is known by its kind; anything else has to be looked into.
        away = is_transient(error)
        write = log.warning if away else log.error
        facts = {"error": type(error).__name__, "exc_info": None if away else error}
    write(
        "request_served",
        method=scope["method"],
        # The route's template, never the path: paths may hold signed tokens.
        route=getattr(scope.get("route"), "path", None) or "unrouted",
        status=status,
        duration_seconds=round(time.perf_counter() - started, 6),
        **facts,
    )
