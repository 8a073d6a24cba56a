"""The caller's own second factor."""

from __future__ import annotations

from fastapi import APIRouter

from posthorn_auth.app.second_factors import Proof
from posthorn_auth.entrypoints.http.deps import FromClient, Person, Services
from posthorn_auth.entrypoints.http.schemas import (
    CodeRequest,
    CurrentPasswordRequest,
    EnrolmentAnswer,
    FactorProofRequest,
    FactorStatusAnswer,
    RecoveryCodesAnswer,
)
from posthorn_common.http.problems import responses

router = APIRouter(tags=["account"], prefix="/v1/auth/second-factor")


@router.get("", operation_id="get_second_factor", responses=responses(401, 403))
async def get_second_factor(caller: Person, services: Services) -> FactorStatusAnswer:
    """Return whether a second factor is set up or required, and how many recovery codes are left."""
    found = await services.second_factors.status(caller.organisation_id, caller.subject_id)
    return FactorStatusAnswer.model_validate(found)


@router.post("", operation_id="begin_second_factor", responses=responses(401, 403, 409, 422, 429))
async def begin_second_factor(
    body: CurrentPasswordRequest, caller: Person, services: Services, client: FromClient
) -> EnrolmentAnswer:
    """Get a secret for an authenticator app. It counts once `confirm` was given one of its codes."""
    enrolment = await services.second_factors.begin(
        caller.organisation_id, caller.subject_id, body.current_password, client.address
    )
    return EnrolmentAnswer.model_validate(enrolment)


@router.post("/confirm", operation_id="confirm_second_factor", responses=responses(401, 403, 409, 422))
async def confirm_second_factor(body: CodeRequest, caller: Person, services: Services) -> RecoveryCodesAnswer:
    """Confirm the secret with a first code, and get recovery codes. All other sessions end."""
    codes = await services.second_factors.confirm(
        caller.organisation_id, caller.subject_id, caller.session_id, body.code
    )
    return RecoveryCodesAnswer(recovery_codes=codes)


@router.post("/recovery-codes", operation_id="renew_recovery_codes", responses=responses(401, 403, 422, 429))
async def renew_recovery_codes(
    body: FactorProofRequest, caller: Person, services: Services, client: FromClient
) -> RecoveryCodesAnswer:
    """Get new recovery codes. All others are void."""
    proof = Proof(body.current_password, body.code, client.address)
    codes = await services.second_factors.new_codes(caller.organisation_id, caller.subject_id, proof)
    return RecoveryCodesAnswer(recovery_codes=codes)


@router.post(
    "/disable", operation_id="disable_second_factor", status_code=204, responses=responses(401, 403, 409, 422, 429)
)
async def disable_second_factor(
    body: FactorProofRequest, caller: Person, services: Services, client: FromClient
) -> None:
    """Remove the second factor, unless the organisation requires one."""
    proof = Proof(body.current_password, body.code, client.address)
    await services.second_factors.disable(caller.organisation_id, caller.subject_id, proof)
