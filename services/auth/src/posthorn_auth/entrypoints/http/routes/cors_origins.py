"""Web pages that may call the API for the organisation's users."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from posthorn_auth.entrypoints.http.deps import Services
from posthorn_auth.entrypoints.http.schemas import CorsOriginsAnswer, CorsOriginsRequest
from posthorn_common.http.identity import internal_caller, requires
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.auth.internal_v1 import AllCorsOrigins, CorsOrigins
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["organisation"])
internal_router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])

_PATH = "/v1/organisation/cors-origins"


@router.get(_PATH, operation_id="get_cors_origins", responses=responses(401, 403))
async def get_cors_origins(
    caller: Annotated[Principal, Depends(requires(Permission.ORGANISATION_READ))], services: Services
) -> CorsOriginsAnswer:
    """Return the origins whose pages may call the API for users and API keys of the organisation.

    Those that are set for the whole installation may as well, and are not in the list.
    """
    return CorsOriginsAnswer(origins=await services.allowing_origins.of(caller.organisation_id))


@router.put(_PATH, operation_id="set_cors_origins", responses=responses(401, 403, 422))
async def set_cors_origins(
    body: CorsOriginsRequest,
    caller: Annotated[Principal, Depends(requires(Permission.CORS_WRITE))],
    services: Services,
) -> CorsOriginsAnswer:
    """Let browsers give answers to pages of these origins, and of no others but the installation's.

    Gateways know it within a second, or within 20 seconds while RabbitMQ is away. Calls carry a bearer token; cookies
    are not used.
    """
    return CorsOriginsAnswer(origins=await services.allowing_origins.replace(caller.organisation_id, body.origins))


@internal_router.get("/cors-origins")
async def all_cors_origins(services: Services) -> AllCorsOrigins:
    """Return the origins of every organisation that allows any."""
    found = await services.allowing_origins.of_all()
    return AllCorsOrigins(
        organisations=[CorsOrigins(organisation_id=id_, origins=origins) for id_, origins in found.items()]
    )
