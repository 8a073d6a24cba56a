"""Limits of sending."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints

from posthorn_common.http.fields import RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.domain.limits import MAX_DOMAIN_LIMITS, DomainLimit, SendingLimits
from posthorn_mailer.domain.operators import OPERATORS
from posthorn_mailer.domain.relays import MAX_CONNECTIONS
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["sending limits"])

Reader = Annotated[Principal, Depends(requires(Permission.RELAYS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RELAYS_WRITE))]

_LABEL = "[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_NAME = rf"^(?:{_LABEL}\.)*{_LABEL}$"
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=253, pattern=_NAME),
    Field(
        description="A recipient domain (international ones as `xn--…`), or an operator with all its domains: "
        + ", ".join(f"`{name}`" for name in sorted(OPERATORS))
        + ".",
        examples=["google"],
    ),
]
Rate = Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)]
Connections = Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)]


class DomainLimitModel(RequestModel):
    """At least one of the two limits."""

    name: Name
    messages_per_second: Rate | None = Field(default=None, description="Over all relays, campaigns and workers.")
    max_connections: Connections | None = Field(
        default=None, description="Messages on their way at the same time through one relay, over all workers."
    )


class SendingLimitsModel(RequestModel):
    messages_per_second: Rate | None = Field(
        default=None,
        description="Of the organisation, over all relays, campaigns and workers; null: no limit.",
    )
    domains: list[DomainLimitModel] = Field(default_factory=list, max_length=MAX_DOMAIN_LIMITS)


def _shown(limits: SendingLimits) -> SendingLimitsModel:
    domains = [
        DomainLimitModel(
            name=one.name, messages_per_second=one.messages_per_second, max_connections=one.max_connections
        )
        for one in limits.domains.values()
    ]
    return SendingLimitsModel(messages_per_second=limits.messages_per_second, domains=domains)


@router.get("/v1/sending-limits", operation_id="get_sending_limits", responses=responses(401, 403))
async def get_sending_limits(principal: Reader, services: Services) -> SendingLimitsModel:
    """Return the organisation's limits.

    Relays have limits of their own, and campaigns too. Whatever the limits, a relay or an operator that says it has had
    enough gets mail more slowly for a while.
    """
    return _shown(await services.managing_limits.get(principal.organisation_id))


@router.put("/v1/sending-limits", operation_id="replace_sending_limits", responses=responses(400, 401, 403, 422))
async def replace_sending_limits(
    wanted: SendingLimitsModel, principal: Writer, services: Services
) -> SendingLimitsModel:
    """Replace all limits; what is being sent follows within seconds."""
    domains = [DomainLimit(one.name, one.messages_per_second, one.max_connections) for one in wanted.domains]
    limits = await services.managing_limits.replace(
        principal.organisation_id, messages_per_second=wanted.messages_per_second, domains=domains
    )
    return _shown(limits)
