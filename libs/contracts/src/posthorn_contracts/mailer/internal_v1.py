"""Internal HTTP bodies of the mailer service, version 1.

`POST /internal/messages` with `TransactionalMessage` → `MessageAccepted` (202). The message is stored before the
answer, sent ahead of bulk mail, and retried like any delivery. Idempotent by `idempotency_key` per organisation.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


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
