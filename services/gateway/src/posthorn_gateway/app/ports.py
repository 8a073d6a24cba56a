"""What the gateway needs from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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


OrganisationOrigins = Mapping[UUID, frozenset[str]]
"""The origins that each organisation allows; those that allow none are not in it."""


class OriginSource(Protocol):
    """Auth, asked which origins are allowed."""

    async def of_all(self) -> OrganisationOrigins:
        """Raises TransientError if auth is away."""
        ...


class OriginStore(Protocol):
    """Keeps what auth said for processes that start while it is away. Every method raises TransientError."""

    async def keep(self, known: OrganisationOrigins) -> None: ...
    async def recall(self) -> OrganisationOrigins:
        """Return what was kept last; nothing if nothing was."""
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
    """Counts requests: all gateway processes together, or each for itself while they cannot."""

    async def take(self, key: str, per_minute: int) -> Verdict:
        """Count one request of `key`."""
        ...


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it is given again."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class KeyState(StrEnum):
    """What is known of an idempotency key."""

    OURS = "ours"  # it was free, and is now held by whoever asked
    RUNNING = "running"  # another request holds it and is at work
    INTERRUPTED = "interrupted"  # another request held it and has not been heard of since
    DONE = "done"  # carried out


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as it was found. Once DONE it has the digest of the body, and the answer unless that was too large."""

    state: KeyState
    fingerprint: bytes = b""
    answer: KeptAnswer | None = None


class IdempotencyStore(Protocol):
    """What all gateway processes know of idempotency keys. Every method raises TransientError while it is away.

    A key is held by one `holder`, who says every few seconds that it is still there.
    """

    async def claim(self, scope: str, holder: str) -> KnownKey:
        """Take a key, or tell why it cannot be had."""
        ...

    async def renew(self, scope: str, holder: str) -> None:
        """Say that the holder is still at work."""
        ...

    async def settle(self, scope: str, holder: str, fingerprint: bytes, answer: KeptAnswer | None) -> None:
        """Keep the answer for whoever comes with the key again."""
        ...

    async def interrupt(self, scope: str, holder: str) -> None:
        """Say that nobody knows whether the request was carried out."""
        ...

    async def release(self, scope: str, holder: str) -> None:
        """Forget the key: nothing was carried out."""
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
