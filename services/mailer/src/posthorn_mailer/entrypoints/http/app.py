"""The mailer service's HTTP application."""

from __future__ import annotations

from fastapi import FastAPI

from posthorn_common.db import ping
from posthorn_common.http.app import AppParts, create_app
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain import errors
from posthorn_mailer.entrypoints.http.routes import (
    deliveries,
    domains,
    inbound,
    internal,
    limits,
    messages,
    relays,
    sends,
    suppressions,
)

_STATUSES: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Invalid: 422,
}


def build_app(container: Container | None, *, business_routes: bool = True) -> FastAPI:
    """Return the application; without a container it can only describe itself."""
    routers = (
        sends.router,
        deliveries.router,
        relays.router,
        domains.router,
        limits.router,
        suppressions.router,
        messages.router,
        inbound.router,
        internal.router,
    )
    return create_app(
        AppParts(
            service="mailer",
            title="Posthorn mailer",
            description="Relays, sending domains, deliveries, suppressions and single messages.",
            routers=routers if business_routes else (),
            identity=container.identity if container else None,
            checks={"database": lambda: ping(container.engine)} if container else {},
            side_checks={"redis": container.redis.ping, "rabbitmq": container.bus.ping} if container else {},
            error_statuses=_STATUSES,
            state={"container": container},
        )
    )
