"""The routing table: which service answers which path, who may come in, how much they may send.

First match wins; what is not in the table does not exist. A test checks the table against every service's own
OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Service(StrEnum):
    """A service behind the gateway."""

    AUTH = "auth"
    CAMPAIGNS = "campaigns"
    MAILER = "mailer"
    ANALYTICS = "analytics"


class Entrance(StrEnum):
    """Who may come in."""

    BEARER = "bearer"  # with an access token or an API key
    SIGN_IN = "sign_in"  # to obtain tokens; limited per address
    RECIPIENT = "recipient"  # by a link in mail
    ANYBODY = "anybody"


ONE_MEBIBYTE = 1024 * 1024
ALL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Route:
    """One line of the table. In `path`, `{name}` stands for one segment, `*` at the end for nothing, more segments or
    a file name extension such as `.csv`.

    `is_stream` marks an answer that has no end in sight (server-sent events), whose pauses are not limited.
    `is_admin` marks what only admins change: that waits while it is not known whose access was revoked.
    """

    path: str
    service: Service
    entrance: Entrance = Entrance.BEARER
    methods: frozenset[str] = ALL_METHODS
    max_body_bytes: int = ONE_MEBIBYTE
    is_stream: bool = False
    is_admin: bool = False


_POST = frozenset({"POST"})

ROUTES: tuple[Route, ...] = (
    Route("/v1/auth/register", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/login", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/login/second-factor", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/oidc/*", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/refresh", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/password-reset*", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/email/confirm", Service.AUTH, Entrance.SIGN_IN),
    Route("/v1/auth/invitations/accept", Service.AUTH, Entrance.SIGN_IN),
    Route("/account/{page}", Service.AUTH, Entrance.ANYBODY),
    Route("/v1/auth/*", Service.AUTH),
    Route("/v1/organisation/transfer-ownership", Service.AUTH, is_admin=True),
    Route("/v1/organisation/identity-provider", Service.AUTH, is_admin=True),
    Route("/v1/organisation/cors-origins", Service.AUTH, is_admin=True),
    Route("/v1/invitations*", Service.AUTH, is_admin=True),
    Route("/v1/organisation", Service.AUTH, is_admin=True),
    Route("/v1/users*", Service.AUTH, is_admin=True),
    Route("/v1/api-keys*", Service.AUTH, is_admin=True),
    Route("/v1/audit-log*", Service.AUTH, is_admin=True),
    Route("/v1/sessions*", Service.AUTH),
    Route("/.well-known/jwks.json", Service.AUTH, Entrance.ANYBODY),
    Route("/v1/campaigns/{id}/statistics*", Service.ANALYTICS),
    Route("/v1/campaigns/{id}/progress", Service.ANALYTICS, is_stream=True),
    Route("/v1/statistics*", Service.ANALYTICS),
    Route("/v1/campaigns/{id}/deliveries*", Service.MAILER),
    Route("/v1/campaigns/{id}/send", Service.MAILER),
    Route("/v1/relays*", Service.MAILER, is_admin=True),
    Route("/v1/sending-limits", Service.MAILER, is_admin=True),
    Route("/v1/domains*", Service.MAILER, is_admin=True),
    Route("/v1/suppressions*", Service.MAILER, is_admin=True),
    Route("/v1/messages", Service.MAILER, methods=_POST, max_body_bytes=5 * ONE_MEBIBYTE),
    Route("/v1/messages*", Service.MAILER),
    Route("/v1/inbound*", Service.MAILER),
    Route("/v1/contacts/bulk", Service.CAMPAIGNS, methods=_POST, max_body_bytes=16 * ONE_MEBIBYTE),
    Route("/v1/contacts*", Service.CAMPAIGNS),
    Route("/v1/contact-attributes*", Service.CAMPAIGNS),
    Route("/v1/lists*", Service.CAMPAIGNS),
    Route("/v1/segments*", Service.CAMPAIGNS),
    Route("/v1/imports", Service.CAMPAIGNS, methods=_POST, max_body_bytes=200 * ONE_MEBIBYTE),
    Route("/v1/imports/{id}/progress", Service.CAMPAIGNS, is_stream=True),
    Route("/v1/imports*", Service.CAMPAIGNS),
    Route("/v1/exports*", Service.CAMPAIGNS),
    Route("/v1/erasures*", Service.CAMPAIGNS),
    Route("/v1/access-requests*", Service.CAMPAIGNS),
    Route("/access-archives/{token}", Service.CAMPAIGNS, Entrance.RECIPIENT),
    Route("/exports/{token}", Service.CAMPAIGNS, Entrance.RECIPIENT),
    Route("/v1/templates*", Service.CAMPAIGNS),
    Route("/v1/campaigns*", Service.CAMPAIGNS),
    Route("/t/o/{token}", Service.ANALYTICS, Entrance.RECIPIENT),
    Route("/t/c/{token}/{number}", Service.ANALYTICS, Entrance.RECIPIENT),
    Route("/u/{token}", Service.CAMPAIGNS, Entrance.RECIPIENT),
    Route("/preferences/{token}", Service.CAMPAIGNS, Entrance.RECIPIENT),
    Route("/s/{list_id}", Service.CAMPAIGNS, Entrance.RECIPIENT),
    Route("/confirm/{token}", Service.CAMPAIGNS, Entrance.RECIPIENT),
)

LARGEST_BODY_BYTES = max(route.max_body_bytes for route in ROUTES)


class RoutingTable:
    """Finds routes. A path with a slash at its end has none: a service would redirect it to an address of its own."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._routes = [(re.compile(_expression(route.path)), route) for route in routes]

    def find(self, method: str, path: str) -> Route | None:
        """Return the first route for a path (not decoded, without query), or None."""
        for expression, route in self._routes:
            if expression.fullmatch(path) and method in route.methods:
                return route
        return None


def _expression(path: str) -> str:
    """Return the pattern as a regular expression."""
    stem, rest = (path[:-1].rstrip("/"), r"(?:\.[a-z]+|/.*[^/])?") if path.endswith("*") else (path, "")
    if path.endswith("/*"):
        rest = "/.*[^/]"
    segments = (
        "[^/]+" if segment.startswith("{") and segment.endswith("}") else re.escape(segment)
        for segment in stem.split("/")
    )
    return "/".join(segments) + rest
