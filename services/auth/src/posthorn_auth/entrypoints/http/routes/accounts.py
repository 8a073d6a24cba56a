"""Forgotten passwords, confirmed and changed addresses."""

from __future__ import annotations

from fastapi import APIRouter

from posthorn_auth.entrypoints.http.deps import FromClient, Person, Services
from posthorn_auth.entrypoints.http.schemas import (
    AskResetRequest,
    ChangeEmailRequest,
    ConfirmEmailRequest,
    ResetPasswordRequest,
    UserAnswer,
)
from posthorn_common.http.problems import responses

router = APIRouter(tags=["account"])


@router.post(
    "/v1/auth/password-reset", operation_id="ask_for_password_reset", status_code=202, responses=responses(422)
)
async def ask_for_password_reset(body: AskResetRequest, services: Services) -> None:
    """Have a link to choose a new password sent to the address, if somebody has it. The answer is always the same.

    While a link that was sent before still works for 15 minutes or more, no other one is sent.
    """
    await services.proving_addresses.ask_to_reset(body.email)


@router.post(
    "/v1/auth/password-reset/complete", operation_id="reset_password", status_code=204, responses=responses(400, 422)
)
async def reset_password(body: ResetPasswordRequest, services: Services, client: FromClient) -> None:
    """Choose a new password by the token from the message. All sessions end; a second factor stays."""
    await services.proving_addresses.reset(body.token, body.new_password, client)


@router.post(
    "/v1/auth/email/verification",
    operation_id="ask_to_verify_email",
    status_code=202,
    responses=responses(401, 403),
)
async def ask_to_verify_email(caller: Person, services: Services) -> None:
    """Have a link sent to your address that confirms it, unless it is confirmed, or one was sent lately."""
    await services.proving_addresses.ask_to_verify(caller.organisation_id, caller.subject_id)


@router.post(
    "/v1/auth/email", operation_id="ask_to_change_email", status_code=202, responses=responses(401, 403, 422, 429)
)
async def ask_to_change_email(body: ChangeEmailRequest, caller: Person, services: Services, client: FromClient) -> None:
    """Have a link sent to a new address; once it is confirmed it replaces the old one, which gets a notice."""
    await services.proving_addresses.ask_to_change(
        caller.organisation_id, caller.subject_id, body.new_email, body.current_password, client
    )


@router.post("/v1/auth/email/confirm", operation_id="confirm_email", responses=responses(400, 409, 422))
async def confirm_email(body: ConfirmEmailRequest, services: Services, client: FromClient) -> UserAnswer:
    """Confirm an address by the token from the message."""
    return UserAnswer.model_validate(await services.proving_addresses.confirm(body.token, client))
