"""Erasures: what was asked for, and which services have confirmed it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

_PURPOSE = b"posthorn campaigns erased address v1"


class ErasureState(StrEnum):
    """How far an erasure is."""

    RUNNING = "running"
    """A service has not confirmed yet."""
    COMPLETED = "completed"
    """All have. The address is forgotten; a keyed hash of it stays."""


class HoldingService(StrEnum):
    """A service that knows contacts. Auth knows none: its audit log names contacts by their ids only."""

    CAMPAIGNS = "campaigns"
    MAILER = "mailer"
    ANALYTICS = "analytics"


@dataclass(frozen=True, slots=True)
class ErasureConfirmation:
    """When a service has confirmed, and how many records of each kind it has deleted or blanked."""

    at: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Erasure:
    """A contact's erasure. `email` is known only while it runs: services find by it what they hold."""

    id: UUID
    organisation_id: UUID
    contact_id: UUID
    email: str | None
    requested_by_kind: str
    requested_by: UUID
    reason: str | None
    state: ErasureState
    requested_at: datetime
    completed_at: datetime | None
    confirmations: Mapping[HoldingService, ErasureConfirmation]

    @property
    def waits_for(self) -> tuple[HoldingService, ...]:
        """The services that have not confirmed."""
        return tuple(service for service in HoldingService if service not in self.confirmations)


class AddressHashes:
    """Keyed hashes of erased addresses: they answer whether an address was erased, and tell no address."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def of(self, organisation_id: UUID, email: str) -> bytes:
        """Return the hash of a normalised address; the same address has another one in each organisation."""
        return hmac.digest(self._key, organisation_id.bytes + email.encode(), hashlib.sha256)
