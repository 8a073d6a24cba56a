"""The environment variables of each service: `POSTHORN_<SERVICE>_<NAME>`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from posthorn_local.ports import LOOPBACK
from posthorn_local.provisioning import SCHEMA_OWNERS
from posthorn_local.secrets_file import StackSecrets

SERVICES = ("auth", "campaigns", "mailer", "analytics", "gateway")
"""All services, in the order in which they are shown."""

# Whose internal or public routes a service calls.
_NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "auth": ("mailer",),
    "campaigns": ("mailer", "analytics"),
    "mailer": ("campaigns",),
    "analytics": ("campaigns",),
    "gateway": ("auth", "campaigns", "mailer", "analytics"),
}
_WITH_ENCRYPTION_KEY = frozenset({"auth", "mailer"})
_WITH_LINK_SECRET = frozenset({"campaigns", "mailer", "analytics"})


@dataclass(frozen=True)
class ServerUrls:
    """Addresses, with credentials, of the servers that the services share."""

    postgres_admin: str = field(repr=False)
    redis: str = field(repr=False)
    amqp: str = field(repr=False)


def service_url(ports: Mapping[str, int], service: str) -> str:
    """Return the base URL of a service."""
    return f"http://{LOOPBACK}:{ports[service]}"


def service_environment(
    service: str,
    *,
    ports: Mapping[str, int],
    servers: ServerUrls,
    database_urls: Mapping[str, str],
    secrets: StackSecrets,
) -> dict[str, str]:
    """Return what a service needs in its environment, beside what every program has there."""
    public_url = service_url(ports, "gateway")
    values = {
        "ENVIRONMENT": "development",
        "LOG_LEVEL": "INFO",
        "HOST": LOOPBACK,
        "PORT": str(ports[service]),
        "AMQP_URL": servers.amqp,
        "REDIS_URL": servers.redis,
        "INTERNAL_SECRET": secrets.internal_secret,
        "TOKEN_ISSUER": public_url,
        "JWKS_URL": f"{service_url(ports, 'auth')}/.well-known/jwks.json",
        "PUBLIC_URL": public_url,
    }
    if service in SCHEMA_OWNERS:
        values["DATABASE_URL"] = database_urls[service]
    if service in _WITH_ENCRYPTION_KEY:
        values["ENCRYPTION_KEY"] = str(getattr(secrets, f"{service}_encryption_key"))
    if service in _WITH_LINK_SECRET:
        values["LINK_SECRET"] = secrets.link_secret
    for neighbour in _NEIGHBOURS[service]:
        values[f"{neighbour.upper()}_URL"] = service_url(ports, neighbour)
    return {f"POSTHORN_{service.upper()}_{name}": value for name, value in values.items()}
