"""The auth service's HTTP application."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from posthorn_auth.bootstrap import Container
from posthorn_auth.domain import errors
from posthorn_auth.entrypoints.http.deps import Services
from posthorn_auth.entrypoints.http.routes import (
    accounts,
    api_keys,
    audit_log,
    cors_origins,
    identity_provider,
    invitations,
    pages,
    second_factors,
    sessions,
    users,
)
from posthorn_common.db import ping
from posthorn_common.http.app import AppParts, create_app
from posthorn_common.http.problems import problem_response, responses

_STATUSES: dict[type[Exception], int] = {
    errors.InvalidCredentials: 401,
    errors.InvalidRefreshToken: 401,
    errors.InvalidApiKey: 401,
    errors.WeakPassword: 422,
    errors.EmailTaken: 409,
    errors.NotAllowed: 403,
    errors.ScopeNotHeld: 403,
    errors.ExpiryInThePast: 422,
    errors.LastOwner: 409,
    errors.InvitationExists: 409,
    errors.LinkNotValid: 400,
    errors.ChallengeNotValid: 401,
    errors.InvalidCode: 401,
    errors.ApiKeyOver: 409,
    errors.IssuerNotUsable: 422,
    errors.LoginNotKnown: 400,
    errors.ProviderRefused: 401,
    errors.NoAccountHere: 403,
    errors.TwoFactorRequired: 409,
    errors.TwoFactorSetUp: 409,
    errors.TwoFactorMissing: 409,
    errors.NotFound: 404,
}

keys_router = APIRouter(tags=["sign-in"])


@keys_router.get("/.well-known/jwks.json", operation_id="get_signing_keys", responses=responses(503))
async def signing_keys(services: Services) -> JSONResponse:
    """Return the public keys that verify access tokens (RFC 7517)."""
    return JSONResponse(await services.key_ring.jwks(), headers={"Cache-Control": "public, max-age=300"})


def build_app(container: Container | None, *, business_routes: bool = True) -> FastAPI:
    """Return the application; without a container it can only describe itself."""
    routers = (
        sessions.router, accounts.router, second_factors.router, users.router, invitations.router, api_keys.router,
        identity_provider.router, cors_origins.router, audit_log.router, keys_router, pages.router,
        sessions.internal_router, api_keys.internal_router, cors_origins.internal_router,
    )  # fmt: skip
    app = create_app(
        AppParts(
            service="auth",
            title="Posthorn auth",
            description="Organisations, users, sessions and API keys.",
            routers=routers if business_routes else (),
            identity=container.identity if container else None,
            checks={"database": lambda: ping(container.engine)} if container else {},
            side_checks={"redis": container.redis.ping, "rabbitmq": container.bus.ping} if container else {},
            error_statuses=_STATUSES,
            state={"container": container},
        )
    )
    app.add_exception_handler(errors.TooManyAttempts, _on_too_many_attempts)
    return app


async def _on_too_many_attempts(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.TooManyAttempts):
        raise error
    headers = {"Retry-After": str(error.retry_after_seconds)}
    return problem_response(429, error.code, str(error), headers=headers)
