"""Subscribing by a public form, and confirming it by a link in a mail (double opt-in)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

CONFIRM_WITHIN = timedelta(days=7)
"""So long the link in a confirmation mail works."""
MAIL_AGAIN_AFTER = timedelta(minutes=10)
"""Within this time no second mail goes to the same address about the same list."""
MAX_MAILS_A_DAY = 5
"""To one address, about all lists of an organisation."""

_PURPOSE = b"posthorn confirmation v1"
_ID_BYTES, _MAC_BYTES = 16, 16
_LONGEST_PAUSE_SECONDS = 600.0


class OptIn(StrEnum):
    """What it takes to be on a list by a public form: the form alone, or a click in a mail besides."""

    SINGLE = "single"
    DOUBLE = "double"


class InvalidConfirmationToken(Exception):
    """The token is malformed or was not signed with our secret."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation that somebody was asked for. Once it is confirmed it is the proof of consent."""

    id: UUID
    organisation_id: UUID
    list_id: UUID
    contact_id: UUID
    requested_at: datetime
    requested_from: str
    expires_at: datetime
    attempts: int
    confirmed_at: datetime | None
    confirmed_from: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """What has become of a subscription, when, how, and from which address on the network."""

    list_id: UUID
    status: str
    method: str
    at: datetime
    remote_address: str | None


def confirmation_token(confirmation_id: UUID, secret: bytes) -> str:
    """Return the token in the link of a confirmation mail; it is good for nothing else."""
    raw = confirmation_id.bytes + _mac(secret, confirmation_id.bytes)
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def confirmation_of(token: str, secret: bytes) -> UUID:
    """Return the confirmation that a token names. Raises InvalidConfirmationToken."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidConfirmationToken from error
    payload, mac = raw[:_ID_BYTES], raw[_ID_BYTES:]
    if len(payload) != _ID_BYTES or not hmac.compare_digest(mac, _mac(secret, payload)):
        raise InvalidConfirmationToken
    return UUID(bytes=payload)


def pause_seconds(attempts: int) -> float:
    """Return how long to wait before a mail is handed over again."""
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(attempts, 10))


def _mac(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + payload, hashlib.sha256)[:_MAC_BYTES]
