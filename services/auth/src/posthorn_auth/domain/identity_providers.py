"""Sign-in through an organisation's own identity provider (OpenID Connect Core 1.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

LOGIN_LIFETIME = timedelta(minutes=10)
"""How long somebody may take at the provider."""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """Where an organisation's users sign in. `auto_role` is what strangers get whom the provider vouches for."""

    organisation_id: UUID
    issuer: str
    client_id: str
    sealed_client_secret: bytes | None
    redirect_uri: str
    auto_role: str | None


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """Somebody is at the provider."""

    organisation_id: UUID
    issuer: str
    binding_hash: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says of somebody."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None


def code_verifier(state: str, key: bytes) -> str:
    """Return the PKCE verifier of a login (RFC 7636 §4.1): it follows from the state, for whoever has `key`."""
    return _derived(state, key, b"verifier")


def code_challenge(verifier: str) -> str:
    """Return what the provider is shown of the verifier at first (S256)."""
    return _text(hashlib.sha256(verifier.encode()).digest())


def nonce(state: str, key: bytes) -> str:
    """Return what the ID token must hold, so that one of another login is of no use."""
    return _derived(state, key, b"nonce")


def client_secret_purpose(organisation_id: UUID) -> str:
    """Return what a client secret is sealed for."""
    return f"identity provider {organisation_id}"


def _derived(state: str, key: bytes, use: bytes) -> str:
    return _text(hmac.digest(key, use + b"\0" + state.encode(), "sha256"))


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
