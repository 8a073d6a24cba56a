"""What the gateway needs from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn_gateway.domain.routes import Service


@dataclass(frozen=True, slots=True)
class ExchangedKey:
    """What auth gives for an API key."""

    access_token: str
    expires_in: int
    api_key_id: UUID


class KeyExchange(Protocol):
    """Auth's exchange of API keys for access tokens."""

    async def exchange(self, api_key: str) -> ExchangedKey:
        """Return the token. Raises InvalidToken if the key is void, TransientError if auth is away."""
        ...


class RevocationSource(Protocol):
    """Auth, asked what it has revoked."""

    async def within(self, seconds: float) -> Mapping[UUID, datetime]:
        """Return what was revoked within the last `seconds`, and when. Raises TransientError if auth is away."""
        ...


class RevocationStore(Protocol):
    """What all gateway processes remember together. Every method raises TransientError while it is away."""

    async def add(self, revoked: Mapping[UUID, float]) -> None:
        """Keep ids of sessions and API keys until the given times (seconds since 1970)."""
        ...

    async def all(self, now: float) -> Mapping[UUID, float]:
        """Return what is still kept."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one more request is within the limit, and what the caller may know about it."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


class RateLimiter(Protocol):
    """Counts requests, all gateway processes together."""

    async def take(self, key: str, per_minute: int) -> Verdict | None:
        """Count one request of `key`. None if that cannot be known now: then it passes."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A service's answer to a question of the gateway's own; `document` is None if it is not a JSON object."""

    status: int
    document: dict[str, Any] | None
    seconds: float


class Neighbours(Protocol):
    """The services, asked by the gateway for itself."""

    async def read(self, service: Service, path: str) -> Reading:
        """GET a document within a few seconds. Raises ServiceUnavailable."""
        ...
