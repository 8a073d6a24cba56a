"""Register, sign in, refresh, sign out; sessions."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from posthorn_auth.app.signing_in import Registration, SignedIn, Tokens
from posthorn_auth.domain.second_factors import CHALLENGE_LIFETIME
from posthorn_auth.entrypoints.http.deps import FromClient, Person, Services
from posthorn_auth.entrypoints.http.schemas import (
    ChallengeAnswer,
    EnrolmentAnswer,
    LoginRequest,
    MeAnswer,
    OrganisationAnswer,
    PasswordRequest,
    RefreshRequest,
    RegisteredAnswer,
    RegisterRequest,
    SecondStepAnswer,
    SecondStepRequest,
    SessionAnswer,
    SignedInAnswer,
    UserAnswer,
)
from posthorn_common.http.identity import authenticated, internal_caller
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.auth.internal_v1 import RecentRevocations, Revocation

router = APIRouter(tags=["sign-in"])
internal_router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])


@router.post("/v1/auth/register", operation_id="register", status_code=201, responses=responses(409, 422))
async def register(body: RegisterRequest, services: Services, client: FromClient) -> RegisteredAnswer:
    """Register an organisation with its owner, who is signed in at once."""
    wanted = Registration(
        organisation_name=body.organisation_name, name=body.name, email=body.email, password=body.password
    )
    organisation, owner, tokens = await services.signing_in.register(wanted, client)
    return RegisteredAnswer(
        organisation=OrganisationAnswer.model_validate(organisation),
        user=UserAnswer.model_validate(owner),
        **tokens_of(services, tokens),
    )


@router.post(
    "/v1/auth/login",
    operation_id="sign_in",
    response_model=SignedInAnswer,
    responses={
        **responses(401, 422, 429),
        202: {"model": ChallengeAnswer, "description": "A second factor is to come"},
    },
)
async def login(body: LoginRequest, services: Services, client: FromClient) -> SignedInAnswer | JSONResponse:
    """Sign in with e-mail and password. 202: give a code to `POST /v1/auth/login/second-factor` as well."""
    found = await services.signing_in.sign_in(body.email, body.password, client)
    if isinstance(found, SignedIn):
        return SignedInAnswer(user=UserAnswer.model_validate(found.user), **tokens_of(services, found.tokens))
    answer = ChallengeAnswer(
        challenge=found.token,
        expires_in=int(CHALLENGE_LIFETIME.total_seconds()),
        enrolment=EnrolmentAnswer.model_validate(found.enrolment) if found.enrolment else None,
    )
    return JSONResponse(answer.model_dump(), status_code=202, headers={"Cache-Control": "no-store"})


@router.post("/v1/auth/login/second-factor", operation_id="give_second_factor", responses=responses(401, 422, 429))
async def second_step(body: SecondStepRequest, services: Services, client: FromClient) -> SecondStepAnswer:
    """Complete a login with a code of the app, or a recovery code. Five attempts, within five minutes."""
    found = await services.signing_in.give_second_factor(body.challenge, body.code, client)
    return SecondStepAnswer(
        user=UserAnswer.model_validate(found.user),
        recovery_codes=found.recovery_codes,
        **tokens_of(services, found.tokens),
    )


@router.post("/v1/auth/refresh", operation_id="refresh_tokens", responses=responses(401, 422))
async def refresh(body: RefreshRequest, services: Services, client: FromClient) -> SignedInAnswer:
    """Exchange a refresh token for new tokens. It works once; a second use ends the whole session.

    If the answer was lost, try again within ten seconds: it is the same.
    """
    user, tokens = await services.signing_in.refresh(body.refresh_token, client)
    return SignedInAnswer(user=UserAnswer.model_validate(user), **tokens_of(services, tokens))


@router.post("/v1/auth/logout", operation_id="sign_out", status_code=204, responses=responses(401, 403))
async def logout(caller: Person, services: Services) -> None:
    """End the session that the access token belongs to."""
    if caller.session_id is not None:
        await services.signing_in.sign_out(caller.organisation_id, caller.session_id)


@router.get("/v1/auth/me", operation_id="get_me", responses=responses(401))
async def me(caller: Annotated[Principal, Depends(authenticated)], services: Services) -> MeAnswer:
    """Return who the caller is and what they may do."""
    organisation = await services.managing_users.organisation(caller.organisation_id)
    user = None
    if caller.kind == "user":
        user = await services.managing_users.get_user(caller.organisation_id, caller.subject_id)
    return MeAnswer(
        organisation=OrganisationAnswer.model_validate(organisation),
        user=UserAnswer.model_validate(user) if user else None,
        permissions=sorted(caller.scopes),
    )


@router.post(
    "/v1/auth/password", operation_id="change_password", status_code=204, responses=responses(401, 403, 422, 429)
)
async def change_password(body: PasswordRequest, caller: Person, services: Services, client: FromClient) -> None:
    """Set a new password. All other sessions of the user end."""
    passwords = (body.current_password, body.new_password)
    await services.signing_in.change_password(
        caller.organisation_id, caller.subject_id, caller.session_id, passwords, client
    )


@router.get("/v1/sessions", operation_id="list_sessions", responses=responses(400, 401, 403))
async def list_sessions(caller: Person, page: Paging, services: Services) -> Page[SessionAnswer]:
    """List the caller's own sessions that can still be used, oldest first."""
    found = await services.signing_in.sessions(
        caller.organisation_id, caller.subject_id, id_after(page), page.limit + 1
    )
    items = [
        SessionAnswer.model_validate(session).model_copy(update={"is_current": session.id == caller.session_id})
        for session in found[: page.limit]
    ]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.delete("/v1/sessions", operation_id="revoke_other_sessions", status_code=204, responses=responses(401, 403))
async def revoke_other_sessions(caller: Person, services: Services) -> None:
    """End all of the caller's sessions but the one that the access token belongs to."""
    await services.signing_in.revoke_other_sessions(caller.organisation_id, caller.subject_id, caller.session_id)


@router.delete(
    "/v1/sessions/{session_id}", operation_id="revoke_session", status_code=204, responses=responses(401, 403, 404)
)
async def revoke_session(session_id: UUID, caller: Person, services: Services) -> None:
    """End one of the caller's own sessions."""
    await services.signing_in.revoke_own_session(caller.organisation_id, caller.subject_id, session_id)


@internal_router.get("/revocations")
async def recent_revocations(services: Services, seconds: Annotated[float, Query(gt=0, le=3600)]) -> RecentRevocations:
    """Return the sessions and API keys that were revoked within the last `seconds`."""
    revoked = await services.signing_in.revoked_within(seconds)
    return RecentRevocations(revoked=[Revocation(id=id_, revoked_at=at) for id_, at in revoked.items()])


def tokens_of(services: Services, tokens: Tokens) -> dict[str, Any]:
    """Return the fields of a TokenAnswer."""
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_in": services.settings.access_token_seconds,
    }
