"""Answers of the gateway itself, and the headers that it adds to all answers."""

from __future__ import annotations

from starlette.responses import Response

from posthorn_common.http.problems import problem_response
from posthorn_gateway.domain import errors

_STATUSES: dict[type[errors.Refused], int] = {
    errors.InvalidTarget: 400,
    errors.InvalidHost: 400,
    errors.MethodNotAllowed: 405,
    errors.NoSuchPage: 404,
    errors.OriginNotAllowed: 403,
    errors.NotAuthenticated: 401,
    errors.InvalidToken: 401,
    errors.RateLimited: 429,
    errors.BodyTooLarge: 413,
    errors.BodyTooSlow: 408,
    errors.InvalidIdempotencyKey: 400,
    errors.IdempotencyKeyReused: 422,
    errors.RequestInProgress: 409,
    errors.OutcomeUnknown: 409,
    errors.AnswerNotKept: 409,
    errors.RevocationsUnknown: 503,
    errors.IdempotencyUnavailable: 503,
    errors.ServiceUnavailable: 503,
    errors.ServiceLeftAlone: 503,
    errors.ServiceTimedOut: 504,
    errors.InvalidAnswer: 502,
}
_RETRY_SECONDS = "2"
_WORTH_A_RETRY = frozenset(
    {errors.RevocationsUnknown, errors.ServiceUnavailable, errors.RequestInProgress, errors.IdempotencyUnavailable}
)
_PAGES_NEED_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def refusal(error: errors.Refused) -> Response:
    """Return the problem document for an error of the gateway."""
    status = _STATUSES[type(error)]
    headers: dict[str, str] = {}
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RateLimited | errors.ServiceLeftAlone):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if type(error) in _WORTH_A_RETRY:
        headers["Retry-After"] = _RETRY_SECONDS
    if isinstance(error, errors.BodyTooLarge | errors.BodyTooSlow):
        headers["Connection"] = "close"  # the rest of the body is not wanted
    return problem_response(status, error.code, str(error), headers=headers)


def security_headers(public_url: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has unless it brings its own."""
    headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
    if public_url.startswith("https:"):
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    return headers


def page_headers(common: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers for answers that the gateway writes itself."""
    return [*common, (b"content-security-policy", _PAGES_NEED_NOTHING.encode()), (b"x-frame-options", b"DENY")]
