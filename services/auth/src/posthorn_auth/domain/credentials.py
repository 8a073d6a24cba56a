"""Secrets that are handed out once and stored as hashes: refresh tokens and API keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

_SECRET_BYTES = 32
_KEY_PREFIX = "ph_"
_SHOWN_CHARACTERS = 8


def new_secret() -> str:
    """Return 256 random bits, URL-safe."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return what is stored. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def new_api_key() -> str:
    """Return a new API key; the prefix lets people and scanners recognise one."""
    return _KEY_PREFIX + new_secret()


def shown_prefix(api_key: str) -> str:
    """Return the part of an API key that is shown later."""
    return api_key[: len(_KEY_PREFIX) + _SHOWN_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Session:
    """A login. `revoked_at` is set when it is over before its time."""

    id: UUID
    organisation_id: UUID
    user_id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str
    revoked_at: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether the session may still be used."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for programs. It may do what `scopes` says and never more."""

    id: UUID
    organisation_id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_by: UUID
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key may be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
