"""Who calls: FastAPI dependencies that verify tokens and permissions in every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from posthorn_common.auditing import Action, begin
from posthorn_common.context import correlation_id
from posthorn_common.http.clients import client_address
from posthorn_common.http.problems import ProblemError
from posthorn_common.tokens import AccessTokenVerifier, InvalidToken, Principal, ServiceTokens
from posthorn_contracts.audit.v1 import ActorKind

_ONLY_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="An access token from `POST /v1/auth/login`, or an API key (`ph_…`), which the gateway exchanges.",
)
_service_bearer = HTTPBearer(auto_error=False, scheme_name="ServiceToken", description="A token of another service.")


class Identity:
    """Verifies callers; one per application, kept in `app.state.identity`."""

    def __init__(self, verifier: AccessTokenVerifier, service_tokens: ServiceTokens) -> None:
        self.verifier = verifier
        self.service_tokens = service_tokens


def _unauthorized(detail: str, code: str = "not_authenticated") -> ProblemError:
    return ProblemError(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


async def authenticated(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Return the caller, or answer 401."""
    if credentials is None:
        raise _unauthorized("A bearer token is needed.")
    identity: Identity = request.app.state.identity
    try:
        caller = await identity.verifier.verify(credentials.credentials)
    except InvalidToken as error:
        raise _unauthorized(f"The token is not accepted: {error}.", "invalid_token") from error
    if request.method not in _ONLY_READING:
        begin(_action(request, caller))
    return caller


def _action(request: Request, caller: Principal) -> Action:
    """Return what the caller is about to do. Addresses of requests name what it is done to: the last `<kind>_id`."""
    named = [name for name in request.path_params if name.endswith("_id")]
    resource = request.path_params[named[-1]] if named else None
    return Action(
        service=request.app.state.service,
        name=getattr(request.scope.get("route"), "operation_id", None) or request.method,
        organisation_id=caller.organisation_id,
        actor_kind=ActorKind(caller.kind),
        actor_id=caller.subject_id,
        address=client_address(request),
        request_id=correlation_id(),
        resource_kind=named[-1].removesuffix("_id") if named else None,
        resource_id=_as_uuid(resource),
    )


def _as_uuid(value: object) -> UUID | None:
    try:
        return None if value is None else UUID(str(value))
    except ValueError:
        return None


def requires(permission: str) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency that yields the caller if it has `permission`, and answers 403 otherwise.

    Use it as `caller: Annotated[Principal, Depends(requires(Permission.CONTACTS_READ))]`.
    """

    async def permitted(caller: Annotated[Principal, Depends(authenticated)]) -> Principal:
        if permission not in caller.scopes:
            raise ProblemError(
                403, "permission_missing", f"This needs the permission {permission}.", extra={"permission": permission}
            )
        return caller

    permitted.permission = permission  # type: ignore[attr-defined]  # read by the permission matrix test
    return permitted


async def internal_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_service_bearer)]
) -> str:
    """Return the name of the calling service, or answer 401. For `/internal` routes."""
    if credentials is None:
        raise _unauthorized("A service token is needed.")
    identity: Identity = request.app.state.identity
    try:
        return identity.service_tokens.verify(credentials.credentials)
    except InvalidToken as error:
        raise _unauthorized("The service token is not accepted.", "invalid_token") from error
