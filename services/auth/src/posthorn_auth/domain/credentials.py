"""Secrets that are handed out once and stored as hashes: refresh tokens and API keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

_SECRET_BYTES = 32
_KEY_PREFIX = "ph_"
_SHOWN_CHARACTERS = 8

REPEATABLE_FOR = timedelta(seconds=10)
"""How long a client whose answer was lost may show the same refresh token again."""


def new_secret() -> str:
    """Return 256 random bits, URL-safe."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return what is stored. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def successor(refresh_token: str, key: bytes) -> str:
    """Return the refresh token that follows: always the same one, and for nobody to tell who lacks `key`.

    So an answer that was lost can be given again, although only hashes are stored.
    """
    digest = hmac.digest(key, refresh_token.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


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
class UsedToken:
    """A refresh token that was exchanged already."""

    session: Session
    used_at: datetime
    used_by: bytes
    is_followed: bool
    """Whether its successor was exchanged too: then the answer was not lost."""

    def may_repeat(self, client: bytes, now: datetime) -> bool:
        """Whether `client` may have the same answer again."""
        in_time = now - self.used_at <= REPEATABLE_FOR
        return in_time and not self.is_followed and self.used_by == client and self.session.is_open(now)


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
    replaced_by: UUID | None = None
    """The key that was made in its place; this one is good until `expires_at`."""

    def seconds_left(self, now: datetime) -> int:
        """Return how long the key may still be used, 0 if it may not."""
        if self.revoked_at is not None:
            return 0
        if self.expires_at is None:
            return sys.maxsize
        return max(int((self.expires_at - now).total_seconds()), 0)
