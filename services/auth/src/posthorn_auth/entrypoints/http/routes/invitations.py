"""Invitations to the organisation."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_auth.app.inviting import Acceptance
from posthorn_auth.entrypoints.http.deps import FromClient, Services, actor
from posthorn_auth.entrypoints.http.schemas import (
    AcceptInvitationRequest,
    InvitationAnswer,
    InvitationRequest,
    UserAnswer,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["organisation"])

Writer = Annotated[Principal, Depends(requires(Permission.USERS_WRITE))]


@router.get("/v1/invitations", operation_id="list_invitations", responses=responses(400, 401, 403))
async def list_invitations(
    caller: Annotated[Principal, Depends(requires(Permission.USERS_READ))], page: Paging, services: Services
) -> Page[InvitationAnswer]:
    """List invitations that are open or have expired, oldest first."""
    found = await services.inviting.list_invitations(caller.organisation_id, id_after(page), page.limit + 1)
    items = [InvitationAnswer.model_validate(invitation) for invitation in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post(
    "/v1/invitations", operation_id="invite_user", status_code=201, responses=responses(401, 403, 409, 422, 429)
)
async def invite_user(body: InvitationRequest, caller: Writer, services: Services) -> InvitationAnswer:
    """Invite somebody by mail. Only an owner can invite owners.

    The message goes out when a relay takes it; see `GET /v1/messages`. The link works for seven days.
    """
    return InvitationAnswer.model_validate(await services.inviting.invite(actor(caller), body.email, body.role))


@router.post(
    "/v1/invitations/{invitation_id}/resend",
    operation_id="resend_invitation",
    responses=responses(401, 403, 404, 429),
)
async def resend_invitation(invitation_id: UUID, caller: Writer, services: Services) -> InvitationAnswer:
    """Send a new link, for another seven days; the one before is void. Once a minute."""
    return InvitationAnswer.model_validate(await services.inviting.resend(actor(caller), invitation_id))


@router.delete(
    "/v1/invitations/{invitation_id}",
    operation_id="revoke_invitation",
    status_code=204,
    responses=responses(401, 403, 404),
)
async def revoke_invitation(invitation_id: UUID, caller: Writer, services: Services) -> None:
    """Make an invitation void at once."""
    await services.inviting.revoke(actor(caller), invitation_id)


@router.post(
    "/v1/auth/invitations/accept",
    operation_id="accept_invitation",
    status_code=201,
    responses=responses(400, 409, 422),
)
async def accept_invitation(body: AcceptInvitationRequest, services: Services, client: FromClient) -> UserAnswer:
    """Join the organisation with a name and a password. Sign in afterwards."""
    acceptance = Acceptance(body.token, body.name, body.password, client.address)
    return UserAnswer.model_validate(await services.inviting.accept(acceptance))
