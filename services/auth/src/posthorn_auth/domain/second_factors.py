"""Second factors: codes of an authenticator app (RFC 6238), and recovery codes for when it is lost."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

CHALLENGE_LIFETIME = timedelta(minutes=5)
CHALLENGE_ATTEMPTS = 5
RECOVERY_CODES = 10

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_HALF = 5


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The shared secret of a user's app, sealed. It counts once a first code has confirmed it."""

    user_id: UUID
    organisation_id: UUID
    sealed_secret: bytes
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an app needs to make codes: the secret to type in, or its URI as a QR code."""

    secret: str
    uri: str


def new_recovery_codes() -> list[str]:
    """Return fresh codes of 49 bits each."""
    return [f"{_half()}-{_half()}" for _ in range(RECOVERY_CODES)]


def hash_recovery_code(code: str, user_id: UUID, key: bytes) -> bytes:
    """Return what is stored: keyed, since a code is too short to withstand guessing at a stolen hash."""
    return hmac.digest(key, user_id.bytes + normalised_code(code).encode(), "sha256")


def normalised_code(code: str) -> str:
    """Return a code as people may have typed it, in the one form that is compared."""
    return "".join(code.split()).replace("-", "").lower()


def is_app_code(code: str) -> bool:
    """Whether a normalised code is one of an app; else it is a recovery code."""
    return len(code) == 6 and code.isascii() and code.isdigit()


def secret_purpose(user_id: UUID) -> str:
    """Return what a secret is sealed for: it opens for no other user."""
    return f"second factor {user_id}"


def _half() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_HALF))
