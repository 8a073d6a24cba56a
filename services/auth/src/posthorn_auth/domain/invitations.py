"""Invitations to an organisation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Invitation:
    """Somebody is asked to join. It is open until it is accepted, revoked, or expires."""

    id: UUID
    organisation_id: UUID
    email: str
    role: str
    invited_by: UUID
    created_at: datetime
    expires_at: datetime
