"""Addresses that the mailer does not write to, whoever has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why a contact's address is not written to: itself, or everybody at its domain.

    `reason` is the mailer's: `complaint`, `hard_bounce`, `manual`, `import`, `unsubscribe`.
    """

    reason: str
    since: datetime
    expires_at: datetime | None
    is_of_domain: bool
