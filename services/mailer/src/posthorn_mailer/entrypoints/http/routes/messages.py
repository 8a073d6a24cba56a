"""Single messages: what has become of them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_mailer.domain.messages import MessageStatus
from posthorn_mailer.entrypoints.http.deps import DeliveryReader, Services

router = APIRouter(tags=["messages"])


class MessageAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    purpose: str = Field(examples=["test_send"])
    relay_id: UUID | None = Field(description="Null: the organisation's default relay.")
    to_email: str
    from_email: str
    subject: str
    status: MessageStatus
    attempts: int
    created_at: AwareDatetime
    next_attempt_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    smtp_code: int | None
    enhanced_code: str | None
    reply: str | None = Field(description="The relay's last reply.")
    cause: str | None


@router.get("/v1/messages", operation_id="list_messages", responses=responses(400, 401, 403))
async def list_messages(caller: DeliveryReader, page: Paging, services: Services) -> Page[MessageAnswer]:
    """List test sends and messages about accounts, the newest first."""
    found = await services.accepting_messages.list_messages(caller.organisation_id, id_after(page), page.limit + 1)
    items = [MessageAnswer.model_validate(message) for message in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.get("/v1/messages/{message_id}", operation_id="get_message", responses=responses(401, 403, 404))
async def get_message(message_id: UUID, caller: DeliveryReader, services: Services) -> MessageAnswer:
    """Return a message and the relay's last reply to it."""
    return MessageAnswer.model_validate(await services.accepting_messages.get(caller.organisation_id, message_id))
