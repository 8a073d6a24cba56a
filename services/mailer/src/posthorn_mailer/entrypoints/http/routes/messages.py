"""Single messages: receipts, codes, invitations and the like, and what has become of them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_common.auditing import audited
from posthorn_common.clock import new_id
from posthorn_common.http.fields import EmailAddress, RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_contracts.permissions import Permission
from posthorn_mailer.domain.messages import MessageStatus
from posthorn_mailer.entrypoints.http.deps import DeliveryReader, Services

MAX_MESSAGE_BYTES = 5 * 1024 * 1024

router = APIRouter(tags=["messages"])

MessageSender = Annotated[Principal, Depends(requires(Permission.MESSAGES_SEND))]
# The gateway describes the header of all routes.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)]


class MessageRequest(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "to_email": "ada@example.com",
                    "subject": "Your receipt",
                    "text": "Thank you, Ada. You have paid 12 EUR.",
                    "html": "<p>Thank you, Ada. You have paid <b>12 EUR</b>.</p>",
                }
            ]
        }
    )

    to_email: EmailAddress
    subject: str = Field(min_length=1, max_length=998)
    text: str = Field(min_length=1, description="For programs that show no HTML, and for filters of spam.")
    html: str | None = Field(default=None, description="It is sent as it is: without tracking, with no link to leave.")
    from_email: EmailAddress | None = Field(default=None, description="Null: the relay's own sender address.")
    from_name: str | None = Field(default=None, max_length=200)
    reply_to: EmailAddress | None = None
    relay_id: UUID | None = Field(default=None, description="Null: the organisation's default relay.")


class MessageAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    purpose: str = Field(
        description="`transactional` (by this API), `test_send`, `account` or `confirmation`.",
        examples=["transactional"],
    )
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
    """List single messages, the newest first: those of this API, test sends, mail about accounts, confirmations."""
    found = await services.accepting_messages.list_messages(caller.organisation_id, id_after(page), page.limit + 1)
    items = [MessageAnswer.model_validate(message) for message in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post(
    "/v1/messages",
    operation_id="send_message",
    status_code=202,
    max_body_size=MAX_MESSAGE_BYTES,
    responses=responses(401, 403, 413, 422),
)
async def send_message(
    body: MessageRequest, caller: MessageSender, services: Services, response: Response, key: IdempotencyKey = None
) -> MessageAnswer:
    """Send a message to one address: a receipt, a code, an invitation. It is stored before the answer and goes ahead of
    campaigns; temporary failures are retried for three days. `GET /v1/messages/{id}` tells what has become of it.

    With an `Idempotency-Key` the same message is sent once, however often it is asked for. Whoever has unsubscribed
    gets it, an address that is dead or has complained does not: the message ends as `suppressed`. Not for the audit
    log, which would have nothing else in it. Codes: `no_relay`, `no_sender`, `invalid_message`,
    `idempotency_key_reused`.
    """
    wanted = TransactionalMessage(
        organisation_id=caller.organisation_id,
        idempotency_key=f"{caller.subject_id}:{key or new_id()}",
        purpose="transactional",
        **body.model_dump(),
    )
    with audited(None):
        message = await services.accepting_messages.accept(wanted)
    response.headers["Location"] = f"/v1/messages/{message.id}"
    return MessageAnswer.model_validate(message)


@router.get("/v1/messages/{message_id}", operation_id="get_message", responses=responses(401, 403, 404))
async def get_message(message_id: UUID, caller: DeliveryReader, services: Services) -> MessageAnswer:
    """Return a message and the relay's last reply to it."""
    return MessageAnswer.model_validate(await services.accepting_messages.get(caller.organisation_id, message_id))
