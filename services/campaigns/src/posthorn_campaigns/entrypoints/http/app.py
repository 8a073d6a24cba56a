"""The campaigns service's HTTP application."""

from __future__ import annotations

from fastapi import FastAPI

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain import errors
from posthorn_campaigns.entrypoints.http.routes import (
    access_requests,
    attributes,
    bulk_contacts,
    campaign_actions,
    campaigns,
    contacts,
    erasures,
    exports,
    import_errors,
    imports,
    internal,
    lists,
    preferences,
    segments,
    subscribe,
    templates,
    unsubscribe,
)
from posthorn_common.db import ping
from posthorn_common.http.app import AppParts, create_app

_STATUSES: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.TooManySubscribers: 429,
    errors.TooManyStreams: 503,
}


def build_app(container: Container | None, *, business_routes: bool = True) -> FastAPI:
    """Return the application; without a container it can only describe itself."""
    routers = (
        bulk_contacts.router,
        contacts.router,
        erasures.router,
        access_requests.router,
        attributes.router,
        lists.router,
        segments.router,
        imports.router,
        import_errors.router,
        exports.router,
        templates.router,
        campaigns.router,
        campaign_actions.router,
        unsubscribe.router,
        subscribe.router,
        preferences.router,
        internal.router,
        erasures.internal_router,
    )
    return create_app(
        AppParts(
            service="campaigns",
            title="Posthorn campaigns",
            description="Contacts, lists, imports, templates and campaigns.",
            routers=routers if business_routes else (),
            identity=container.identity if container else None,
            checks={"database": lambda: ping(container.engine)} if container else {},
            side_checks={"redis": container.redis.ping, "rabbitmq": container.bus.ping} if container else {},
            error_statuses=_STATUSES,
            state={"container": container},
        )
    )
