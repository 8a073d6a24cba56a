"""The organisation's identity provider, and signing in through it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from posthorn_auth.app.signing_in_elsewhere import ProviderSettings, Return
from posthorn_auth.domain.identity_providers import LOGIN_LIFETIME
from posthorn_auth.entrypoints.http.deps import FromClient, Services, person
from posthorn_auth.entrypoints.http.routes.sessions import tokens_of
from posthorn_auth.entrypoints.http.schemas import (
    CompleteLoginRequest,
    IdentityProviderAnswer,
    IdentityProviderRequest,
    SignedInAnswer,
    StartLoginAnswer,
    StartLoginRequest,
    UserAnswer,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["identity provider"])

Owner = Annotated[Principal, Depends(requires(Permission.ORGANISATION_WRITE))]
_PATH = "/v1/organisation/identity-provider"


@router.get(_PATH, operation_id="get_identity_provider", responses=responses(401, 403, 404))
async def get_identity_provider(caller: Owner, services: Services) -> IdentityProviderAnswer:
    """Return the organisation's identity provider, without its secret."""
    return IdentityProviderAnswer.model_validate(await services.managing_provider.get(caller.organisation_id))


@router.put(
    _PATH,
    operation_id="set_identity_provider",
    responses=responses(401, 403, 422),
    dependencies=[Depends(person)],
)
async def set_identity_provider(
    body: IdentityProviderRequest, caller: Owner, services: Services
) -> IdentityProviderAnswer:
    """Let users sign in through an OpenID Connect provider, found by discovery.

    Whoever runs it can sign in as any user of the organisation whose address it says to have verified.
    """
    wanted = ProviderSettings(
        issuer=body.issuer,
        client_id=body.client_id,
        client_secret=body.client_secret,
        redirect_uri=str(body.redirect_uri),
        auto_role=body.auto_role,
    )
    return IdentityProviderAnswer.model_validate(
        await services.managing_provider.set_up(caller.organisation_id, wanted)
    )


@router.delete(_PATH, operation_id="remove_identity_provider", status_code=204, responses=responses(401, 403))
async def remove_identity_provider(caller: Owner, services: Services) -> None:
    """Let nobody sign in through the provider any more. Sessions go on."""
    await services.managing_provider.remove(caller.organisation_id)


@router.post("/v1/auth/oidc/start", operation_id="start_provider_login", responses=responses(401, 404, 422, 503))
async def start_provider_login(body: StartLoginRequest, services: Services) -> StartLoginAnswer:
    """Begin to sign in through the organisation's identity provider: authorisation code flow with PKCE."""
    begun = await services.signing_in_elsewhere.start(body.organisation_id)
    return StartLoginAnswer(
        authorization_url=begun.authorization_url,
        login_token=begun.login_token,
        expires_in=int(LOGIN_LIFETIME.total_seconds()),
    )


@router.post(
    "/v1/auth/oidc/complete",
    operation_id="complete_provider_login",
    responses=responses(400, 401, 403, 409, 422, 503),
)
async def complete_provider_login(body: CompleteLoginRequest, services: Services, client: FromClient) -> SignedInAnswer:
    """Sign in with what the provider returned. It is good for one attempt, from the browser that began."""
    returned = Return(state=body.state, code=body.code, login_token=body.login_token, issuer=body.iss)
    found = await services.signing_in_elsewhere.complete(returned, client)
    return SignedInAnswer(user=UserAnswer.model_validate(found.user), **tokens_of(services, found.tokens))
