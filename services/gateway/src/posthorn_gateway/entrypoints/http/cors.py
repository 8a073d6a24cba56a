"""What browsers are told about pages of other origins: the Fetch standard's CORS protocol.

Before a call that needs it a browser asks for leave (a preflight) without credentials: whose call it will be is not
known, and leave is given if anybody allows the origin. The call itself has a caller, and its answer may be read only by
pages that the caller's own organisation (or the installation) allows. Credentials are bearer tokens, which a page has
to have; cookies are not used, and never allowed.
"""

from __future__ import annotations

from uuid import UUID

from starlette.responses import Response
from starlette.types import Scope

from posthorn_gateway.app.origins import AllowedOrigins
from posthorn_gateway.domain.errors import OriginNotAllowed
from posthorn_gateway.domain.routes import ALL_METHODS
from posthorn_gateway.entrypoints.http.answers import refusal

OwnHeaders = list[tuple[bytes, bytes]]

VARY = (b"vary", b"Origin")
_READABLE = (
    b"access-control-expose-headers",
    b"X-Request-ID, Location, Retry-After, RateLimit, RateLimit-Policy, Idempotent-Replayed",
)
_LEAVE = {
    "Access-Control-Allow-Methods": ", ".join(sorted(ALL_METHODS)),
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Request-ID, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


def origin_of(scope: Scope) -> str | None:
    """Return the origin that a request names; None without one, or with several."""
    found = [value for name, value in scope["headers"] if name == b"origin"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def is_preflight(scope: Scope) -> bool:
    """Tell whether a browser asks for leave."""
    return scope["method"] == "OPTIONS" and {name for name, _value in scope["headers"]}.issuperset(
        (b"origin", b"access-control-request-method")
    )


class Cors:
    """Decides by the origins that are allowed."""

    def __init__(self, origins: AllowedOrigins) -> None:
        self._origins = origins

    def answer_preflight(self, scope: Scope) -> Response:
        """Give leave, or refuse it."""
        origin = origin_of(scope)
        if origin is not None and self._origins.allowed_by_anybody(origin):
            answer = Response(status_code=204, headers={"Access-Control-Allow-Origin": origin, **_LEAVE})
        else:
            answer = refusal(OriginNotAllowed())
        answer.headers["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        return answer

    def headers(self, origin: str | None, organisation_id: UUID | None) -> OwnHeaders:
        """Return what an answer says; the organisation is the caller's, None where nobody has said who calls.

        Every answer says that another origin may get another one: caches have to tell them apart.
        """
        if origin is None:
            return [VARY]
        if organisation_id is None:
            is_allowed = self._origins.allowed_by_anybody(origin)
        else:
            is_allowed = self._origins.allowed_by(organisation_id, origin)
        if not is_allowed:
            return [VARY]
        return [VARY, (b"access-control-allow-origin", origin.encode("latin-1")), _READABLE]
