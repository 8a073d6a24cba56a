"""Internal HTTP bodies of the mailer service, version 1.

`POST /internal/messages` with `TransactionalMessage` → `MessageAccepted` (202). The message is stored before the
answer, sent ahead of bulk mail, and retried like any delivery. Idempotent by `idempotency_key` per organisation.

`GET /internal/suppression-changes/{change_id}` → `SuppressionStates`: what has become of the addresses and domains that
`mailer.suppressions.changed.v1` tells about, as it is when the question is answered.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class TransactionalMessage(BaseModel):
    """One ready-made message to one address."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organisation_id: UUID
    idempotency_key: str = Field(min_length=1, max_length=300)
    purpose: Literal["test_send", "account", "confirmation", "transactional"]
    to_email: str
    contact_id: UUID | None = Field(default=None, description="The contact that it is for, if it is for one.")
    from_name: str | None = None
    from_email: str | None = Field(default=None, description="None: the relay's own sender address.")
    reply_to: str | None = None
    subject: str
    html: str | None = None
    text: str
    relay_id: UUID | None = None


class MessageAccepted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: UUID
    status: str


class SuppressionState(BaseModel):
    """An address, or `@` and a domain. Without a reason it is not suppressed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    email: str
    reason: Literal["complaint", "hard_bounce", "manual", "import", "unsubscribe"] | None = None
    since: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None


class SuppressionStates(BaseModel):
    """States that held at `read_at`, by the database's clock, or later: of two answers the one read later counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    read_at: AwareDatetime
    states: tuple[SuppressionState, ...]
