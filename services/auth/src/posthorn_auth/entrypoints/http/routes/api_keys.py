"""API keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_auth.app.managing_api_keys import NewApiKey, Rotation
from posthorn_auth.entrypoints.http.deps import Services, person
from posthorn_auth.entrypoints.http.schemas import ApiKeyAnswer, ApiKeyRequest, NewApiKeyAnswer, RotationRequest
from posthorn_common.http.identity import internal_caller, requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.auth.internal_v1 import ApiKeyExchangeAnswer, ApiKeyExchangeRequest
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["API keys"])
internal_router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])

Writer = Annotated[Principal, Depends(requires(Permission.API_KEYS_WRITE))]


@router.get("/v1/api-keys", operation_id="list_api_keys", responses=responses(400, 401, 403))
async def list_api_keys(
    caller: Annotated[Principal, Depends(requires(Permission.API_KEYS_READ))], page: Paging, services: Services
) -> Page[ApiKeyAnswer]:
    """List the organisation's API keys that are not revoked."""
    found = await services.managing_api_keys.list_keys(caller.organisation_id, id_after(page), page.limit + 1)
    items = [ApiKeyAnswer.model_validate(key) for key in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post(
    "/v1/api-keys",
    operation_id="create_api_key",
    status_code=201,
    responses=responses(401, 403, 422),
    dependencies=[Depends(person)],
)
async def create_api_key(body: ApiKeyRequest, caller: Writer, services: Services) -> NewApiKeyAnswer:
    """Create an API key. It may do no more than its creator, and is shown this once."""
    wanted = NewApiKey(name=body.name, scopes=frozenset(body.scopes), expires_at=body.expires_at)
    key, secret = await services.managing_api_keys.create(
        caller.organisation_id, caller.subject_id, caller.scopes, wanted
    )
    return NewApiKeyAnswer(**ApiKeyAnswer.model_validate(key).model_dump(), api_key=secret)


@router.post(
    "/v1/api-keys/{api_key_id}/rotate",
    operation_id="rotate_api_key",
    status_code=201,
    responses=responses(401, 403, 404, 409, 422),
    dependencies=[Depends(person)],
)
async def rotate_api_key(
    api_key_id: UUID, body: RotationRequest, caller: Writer, services: Services
) -> NewApiKeyAnswer:
    """Create a key in the place of another: same name, permissions and length of life. It is shown this once.

    The old one works for `overlap_seconds` yet, so that programs can change over.
    """
    rotation = Rotation(api_key_id, timedelta(seconds=body.overlap_seconds))
    key, secret = await services.managing_api_keys.rotate(
        caller.organisation_id, caller.subject_id, caller.scopes, rotation
    )
    return NewApiKeyAnswer(**ApiKeyAnswer.model_validate(key).model_dump(), api_key=secret)


@router.delete(
    "/v1/api-keys/{api_key_id}", operation_id="revoke_api_key", status_code=204, responses=responses(401, 403, 404)
)
async def revoke_api_key(api_key_id: UUID, caller: Writer, services: Services) -> None:
    """Make an API key void at once."""
    await services.managing_api_keys.revoke(caller.organisation_id, api_key_id)


@internal_router.post("/api-keys/exchange")
async def exchange_api_key(body: ApiKeyExchangeRequest, services: Services) -> ApiKeyExchangeAnswer:
    """Return an access token that stands for the key; 401 if it is void."""
    key, token, seconds = await services.managing_api_keys.exchange(body.api_key)
    return ApiKeyExchangeAnswer(access_token=token, expires_in=seconds, api_key_id=str(key.id))
