"""The gateway's HTTP application: its own pages, and the door before them."""

from __future__ import annotations

from fastapi import FastAPI

from posthorn_common.http.app import AppParts, create_app
from posthorn_gateway.bootstrap import Container
from posthorn_gateway.domain.routes import LARGEST_BODY_BYTES
from posthorn_gateway.entrypoints.http import pages
from posthorn_gateway.entrypoints.http.answers import security_headers
from posthorn_gateway.entrypoints.http.cors import Cors
from posthorn_gateway.entrypoints.http.door import Door, DoorParts
from posthorn_gateway.entrypoints.http.headers import ClientReader
from posthorn_gateway.entrypoints.http.limits import Limits


def build_app(container: Container | None, *, business_routes: bool = True) -> FastAPI:
    """Return the application; without a container it can only describe itself."""
    app = create_app(
        AppParts(
            service="gateway",
            title="Posthorn gateway",
            description="The public door.",
            routers=(pages.router,) if business_routes else (),
            checks={"signing_keys": container.signing_keys.load} if container and business_routes else {},
            state={"container": container},
            # The door has a limit for each route; the pages inside read no bodies.
            max_body_bytes=LARGEST_BODY_BYTES,
            openapi_url=None,
        )
    )
    if container is not None and business_routes:
        app.add_middleware(Door, parts=_door_parts(container))
    return app


def _door_parts(container: Container) -> DoorParts:
    settings = container.settings
    return DoorParts(
        table=container.table,
        upstreams=container.upstreams,
        callers=container.callers,
        limiter=container.rate_limiter,
        repeating=container.repeating,
        limits=Limits(
            sign_in=settings.sign_in_per_minute,
            address=settings.address_per_minute,
            organisation=settings.organisation_per_minute,
            api_key=settings.api_key_per_minute,
            recipient=settings.recipient_per_minute,
        ),
        closing=container.closing,
        clients=ClientReader(settings.trusted_proxies, reads_forwarded=settings.proxy_header == "forwarded"),
        revocations=container.revocations,
        cors=Cors(container.origins),
        allowed_hosts=frozenset(host.lower() for host in settings.allowed_hosts),
        idle_seconds=settings.read_timeout_seconds,
        body_seconds=settings.body_timeout_seconds,
        common_headers=security_headers(settings.public_base),
    )
