"""The organisation and its users."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_auth.app.managing_users import NewUser, UserChange
from posthorn_auth.domain.users import UserStatus
from posthorn_auth.entrypoints.http.deps import FromClient, Person, Services, actor, person
from posthorn_auth.entrypoints.http.schemas import (
    NewUserRequest,
    OrganisationAnswer,
    OrganisationRequest,
    TransferRequest,
    UserAnswer,
    UserChangeRequest,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["organisation"])

Reader = Annotated[Principal, Depends(requires(Permission.USERS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.USERS_WRITE))]


@router.get("/v1/organisation", operation_id="get_organisation", responses=responses(401, 403))
async def get_organisation(
    caller: Annotated[Principal, Depends(requires(Permission.ORGANISATION_READ))], services: Services
) -> OrganisationAnswer:
    """Return the caller's organisation."""
    return OrganisationAnswer.model_validate(await services.managing_users.organisation(caller.organisation_id))


@router.patch("/v1/organisation", operation_id="change_organisation", responses=responses(401, 403, 409, 422))
async def change_organisation(
    body: OrganisationRequest,
    caller: Annotated[Principal, Depends(requires(Permission.ORGANISATION_WRITE))],
    services: Services,
) -> OrganisationAnswer:
    """Change the name, or whether a second factor is required."""
    if body.two_factor_required is not None:
        person(caller)
    changed = await services.managing_users.change_organisation(
        actor(caller), name=body.name, two_factor_required=body.two_factor_required
    )
    return OrganisationAnswer.model_validate(changed)


@router.post(
    "/v1/organisation/transfer-ownership",
    operation_id="transfer_ownership",
    responses=responses(401, 403, 404, 422, 429),
    dependencies=[Depends(requires(Permission.ORGANISATION_WRITE))],
)
async def transfer_ownership(
    body: TransferRequest, caller: Person, services: Services, client: FromClient
) -> UserAnswer:
    """Make another user the owner in your place; you become an admin. Both have to sign in again."""
    await services.password_proof.check(
        caller.organisation_id, caller.subject_id, body.current_password, client.address
    )
    return UserAnswer.model_validate(await services.managing_users.transfer_ownership(actor(caller), body.user_id))


@router.get("/v1/users", operation_id="list_users", responses=responses(400, 401, 403))
async def list_users(caller: Reader, page: Paging, services: Services) -> Page[UserAnswer]:
    """List the organisation's users, oldest first."""
    found = await services.managing_users.list_users(caller.organisation_id, id_after(page), page.limit + 1)
    items = [UserAnswer.model_validate(user) for user in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/users", operation_id="add_user", status_code=201, responses=responses(401, 403, 409, 422))
async def add_user(body: NewUserRequest, caller: Writer, services: Services) -> UserAnswer:
    """Add a user with a first password. Only an owner can add owners."""
    wanted = NewUser(name=body.name, email=body.email, password=body.password, role=body.role)
    return UserAnswer.model_validate(await services.managing_users.add_user(actor(caller), wanted))


@router.get("/v1/users/{user_id}", operation_id="get_user", responses=responses(401, 403, 404))
async def get_user(user_id: UUID, caller: Reader, services: Services) -> UserAnswer:
    """Return one user."""
    return UserAnswer.model_validate(await services.managing_users.get_user(caller.organisation_id, user_id))


@router.patch("/v1/users/{user_id}", operation_id="change_user", responses=responses(401, 403, 404, 409, 422))
async def change_user(user_id: UUID, body: UserChangeRequest, caller: Writer, services: Services) -> UserAnswer:
    """Change name, role or status. With another role the user has to sign in again."""
    change = UserChange(name=body.name, role=body.role, status=body.status, keep_api_keys=body.keep_api_keys)
    return UserAnswer.model_validate(await services.managing_users.change_user(actor(caller), user_id, change))


@router.delete(
    "/v1/users/{user_id}", operation_id="deactivate_user", status_code=204, responses=responses(401, 403, 404, 409)
)
async def deactivate_user(user_id: UUID, caller: Writer, services: Services, *, keep_api_keys: bool = False) -> None:
    """Deactivate a user: all sessions end, and nobody can sign in as this user until the status is active again.

    API keys that the user has created are void as well, unless `keep_api_keys` is true.
    """
    change = UserChange(status=UserStatus.DEACTIVATED, keep_api_keys=keep_api_keys)
    await services.managing_users.change_user(actor(caller), user_id, change)


@router.delete(
    "/v1/users/{user_id}/second-factor",
    operation_id="reset_second_factor",
    status_code=204,
    responses=responses(401, 403, 404),
)
async def reset_second_factor(user_id: UUID, caller: Writer, services: Services) -> None:
    """Remove the second factor of another user who has lost it. All sessions of the user end."""
    await services.second_factors.reset(actor(caller), user_id)
