"""Keys that sign access tokens: published before they sign, and still published after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

PUBLISHED_BEFORE_SIGNING = timedelta(minutes=10)
"""Verifiers cache the key set for at most five minutes; a new key signs only when all of them know it."""

PUBLISHED_AFTER_SIGNING = timedelta(minutes=30)
"""Longer than any access token lives."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair; the private half is sealed."""

    id: str
    public_jwk: str
    sealed_private_key: bytes
    created_at: datetime
    signs_from: datetime


def current_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the key that signs at `now`: the newest whose time has come.

    The first of all keys signs even before that: another process made it, whose clock is ahead of ours.
    """
    oldest = min(keys, key=lambda key: key.signs_from)
    return max((key for key in keys if key.signs_from <= now), key=lambda key: key.signs_from, default=oldest)


def is_due(keys: Sequence[SigningKey], now: datetime, interval: timedelta) -> bool:
    """Whether the newest key is older than `interval`; not so if there is none, which is somebody else's business."""
    return bool(keys) and max(key.created_at for key in keys) + interval <= now


def published_keys(keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys that verifiers must know at `now`, oldest first."""
    signing = current_key(keys, now)
    return sorted(
        (
            key
            for key in keys
            # What was replaced long ago has no living tokens any more.
            if key.signs_from >= signing.signs_from or now - signing.signs_from < PUBLISHED_AFTER_SIGNING
        ),
        key=lambda key: key.signs_from,
    )
