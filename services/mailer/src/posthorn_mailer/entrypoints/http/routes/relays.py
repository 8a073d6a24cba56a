"""Relays."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from posthorn_common.http.fields import EmailAddress, RequestModel, SingleLine
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.app.managing_relays import NewRelay
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain.relays import (
    DEFAULT_CONNECTIONS,
    MAX_CONNECTIONS,
    MAX_WEIGHT,
    Relay,
    RelayHealth,
    RelayState,
    TlsMode,
)
from posthorn_mailer.domain.warm_up import MAX_GROWTH, MAX_MESSAGES, MIN_GROWTH, WarmUp
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["relays"])

Reader = Annotated[Principal, Depends(requires(Permission.RELAYS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RELAYS_WRITE))]

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\Z")


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.match(text):
            return text.lower()
        raise PydanticCustomError("invalid_host", "is neither a host name nor an IP address") from None


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("control_characters", "must not contain NUL")
    return text


Host = Annotated[str, StringConstraints(strip_whitespace=True, max_length=253), AfterValidator(_host)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_no_nul)]
Port = Annotated[int, Field(ge=1, le=65535)]
Connections = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_CONNECTIONS,
        description="Connections that all workers together may have open for campaigns; of five or more, one is "
        "kept for single messages, for which each worker may open one besides.",
    ),
]
Rate = Annotated[float, Field(ge=0.01, le=100_000, description="Over all workers; null: as fast as it goes.")]

Messages = Annotated[int, Field(ge=1, le=MAX_MESSAGES)]
Weight = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_WEIGHT,
        description="The relay's share of campaigns that name no relay, compared with the weights of the others. With "
        "0 it takes such mail only while no relay with a weight can be used, the default relay before others; so the "
        "default relay takes all where no relay has a weight. Campaigns and messages that name a relay wait for it. "
        "Messages that name none go through the default relay, and through others while it cannot be used.",
    ),
]


class WarmUpPlan(RequestModel):
    """Messages of campaigns a day: `first_day`, then `growth` times as many each day, in UTC.

    Nothing before `starts_on`. From the day on which that would be `until` or more there is no limit any more. Single
    messages count and are not held back.
    """

    starts_on: date
    first_day: Messages = Field(examples=[50])
    growth: float = Field(ge=MIN_GROWTH, le=MAX_GROWTH, examples=[1.5])
    until: Messages = Field(examples=[100_000])
    first_day_per_domain: Messages | None = Field(
        default=None,
        description="The most for each recipient domain, or for all domains of one operator (`google`, `microsoft`) "
        "together, out of the first day's messages; it grows alike. null: no such limit.",
        examples=[20],
    )

    @model_validator(mode="after")
    def _must_grow(self) -> WarmUpPlan:
        if self.until <= self.first_day:
            raise PydanticCustomError("no_growth", "until must be more than first_day")
        if self.first_day_per_domain is not None and self.first_day_per_domain > self.first_day:
            raise PydanticCustomError("no_part", "first_day_per_domain must not be more than first_day")
        return self

    def to_domain(self) -> WarmUp:
        """Return the plan."""
        return WarmUp(**self.model_dump())


class RelayRequest(RequestModel):
    name: SingleLine
    host: Host = Field(examples=["smtp.example.com"])
    port: Port = Field(examples=[587])
    tls: TlsMode = TlsMode.STARTTLS
    verify_certificate: bool = True
    username: SingleLine | None = None
    password: Secret | None = Field(
        default=None,
        description="Is never shown again. Where it begins with `Bearer `, the rest is an OAuth 2 access token for "
        "AUTH XOAUTH2; set it anew before it expires.",
    )
    max_connections: Connections = DEFAULT_CONNECTIONS
    messages_per_second: Rate | None = None
    from_email: EmailAddress | None = Field(default=None, description="Sender of messages that name none.")
    is_default: bool = Field(default=False, description="The first relay always is.")
    weight: Weight = 0
    warm_up: WarmUpPlan | None = None

    def to_domain(self) -> NewRelay:
        """Return the relay to create."""
        fields = self.model_dump(exclude={"warm_up"})
        return NewRelay(**fields, warm_up=None if self.warm_up is None else self.warm_up.to_domain())


class RelayChanges(RequestModel):
    """Fields that are left out stay as they are."""

    # Factories, so that the documentation names no default values: there are none.
    name: SingleLine = Field(default_factory=str)
    host: Host = Field(default_factory=str)
    port: Port = Field(default_factory=int)
    tls: TlsMode = Field(default_factory=lambda: TlsMode.STARTTLS)
    verify_certificate: bool = Field(default_factory=bool)
    username: SingleLine | None = None
    password: Secret | None = Field(default=None, description="Null removes it.")
    max_connections: Connections = Field(default_factory=int)
    messages_per_second: Rate | None = None
    from_email: EmailAddress | None = None
    is_default: bool = Field(default_factory=bool)
    weight: Weight = Field(default_factory=int)
    warm_up: WarmUpPlan | None = Field(default=None, description="Null ends it.")

    def to_domain(self) -> dict[str, Any]:
        """Return what is to be changed."""
        changes: dict[str, Any] = self.model_dump(exclude_unset=True)
        return changes if self.warm_up is None else {**changes, "warm_up": self.warm_up.to_domain()}


class RelayHealthAnswer(BaseModel):
    """How the workers find the relay."""

    state: RelayState = Field(
        description="`closed`: in use, or not tried yet. `open`: left alone for a while after failures. `half_open`: "
        "to be tried with one message. `unknown`: it cannot be found out at present."
    )
    since: AwareDatetime | None = Field(description="Since when it is in use, or since when it is not.")
    reason: str | None = Field(description="What went wrong last.", examples=["The relay cannot be reached."])

    @classmethod
    def of(cls, health: RelayHealth) -> RelayHealthAnswer:
        """Return the answer for a relay's health."""
        reason = None if health.trouble is None else health.trouble.sentence("The relay")
        return cls(state=health.state, since=health.since, reason=reason)


class RelayAnswer(BaseModel):
    id: UUID
    name: str
    host: str
    port: int
    tls: TlsMode
    verify_certificate: bool
    username: str | None
    max_connections: int
    messages_per_second: float | None
    from_email: str | None
    is_default: bool
    weight: int
    warm_up: WarmUpPlan | None
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    health: RelayHealthAnswer

    @classmethod
    def of(cls, relay: Relay, health: RelayHealth) -> RelayAnswer:
        """Return the answer for a relay."""
        fields = {name: getattr(relay, name) for name in cls.model_fields if name not in {"health", "warm_up"}}
        return cls(**fields, health=RelayHealthAnswer.of(health), warm_up=_plan(relay.warm_up))


class DomainTodayAnswer(BaseModel):
    """What a recipient domain, or all domains of an operator, got today."""

    name: str = Field(examples=["google"])
    used: int


class WarmUpAnswer(BaseModel):
    """How far a relay's warm-up is."""

    plan: WarmUpPlan | None
    day: date = Field(description="Today, in UTC.")
    limit: int | None = Field(description="Messages of campaigns that the plan allows today; null: no limit.")
    used: int = Field(
        description="Messages of today, single ones among them, and those that workers have reserved. Not counted "
        "without a plan."
    )
    left: int | None = Field(description="What is left of the limit.")
    limit_per_domain: int | None = Field(
        description="Messages of campaigns that each recipient domain or operator may get today; null: no limit."
    )
    domains: list[DomainTodayAnswer] = Field(
        description="The hundred domains and operators that got most today, without single messages. Empty without a "
        "limit for them."
    )


class RelayTestAnswer(BaseModel):
    """How far the test came."""

    ok: bool
    stage: str = Field(description="`ready`, or the stage that failed: connect, tls, auth or mail.")
    code: int | None = Field(description="The relay's reply code; null if it did not reply.")
    reply: str


@router.get("/v1/relays", operation_id="list_relays", responses=responses(400, 401, 403))
async def list_relays(caller: Reader, page: Paging, services: Services) -> Page[RelayAnswer]:
    """List the organisation's relays."""
    found = await services.managing_relays.list_relays(caller.organisation_id, id_after(page), page.limit + 1)
    items = await _answers(services, found[: page.limit])
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/relays", operation_id="create_relay", status_code=201, responses=responses(401, 403, 422))
async def create_relay(body: RelayRequest, caller: Writer, services: Services) -> RelayAnswer:
    """Create a relay. The organisation's first relay is its default."""
    return await _answer(services, await services.managing_relays.create(caller.organisation_id, body.to_domain()))


@router.get("/v1/relays/{relay_id}", operation_id="get_relay", responses=responses(401, 403, 404))
async def get_relay(relay_id: UUID, caller: Reader, services: Services) -> RelayAnswer:
    """Return a relay, without its password."""
    return await _answer(services, await services.managing_relays.get(caller.organisation_id, relay_id))


@router.patch("/v1/relays/{relay_id}", operation_id="change_relay", responses=responses(401, 403, 404, 409, 422))
async def change_relay(relay_id: UUID, body: RelayChanges, caller: Writer, services: Services) -> RelayAnswer:
    """Change a relay. Mail that is under way uses the new settings within seconds."""
    changed = await services.managing_relays.change(caller.organisation_id, relay_id, body.to_domain())
    return await _answer(services, changed)


@router.delete(
    "/v1/relays/{relay_id}",
    operation_id="delete_relay",
    status_code=204,
    responses=responses(401, 403, 404, 409),
)
async def delete_relay(relay_id: UUID, caller: Writer, services: Services) -> None:
    """Delete a relay that no unfinished campaign or message needs."""
    await services.managing_relays.delete(caller.organisation_id, relay_id)


@router.get("/v1/relays/{relay_id}/warm-up", operation_id="get_relay_warm_up", responses=responses(401, 403, 404))
async def get_relay_warm_up(relay_id: UUID, caller: Reader, services: Services) -> WarmUpAnswer:
    """Return what a relay's warm-up plan allows today, and what of that is used."""
    today = await services.managing_relays.warm_up(caller.organisation_id, relay_id)
    left = None if today.limit is None else max(today.limit - today.used, 0)
    return WarmUpAnswer(
        plan=_plan(today.plan),
        day=today.day,
        limit=today.limit,
        used=today.used,
        left=left,
        limit_per_domain=today.limit_per_domain,
        domains=[DomainTodayAnswer(name=one.name, used=one.used) for one in today.domains],
    )


@router.post("/v1/relays/{relay_id}/actions/test", operation_id="test_relay", responses=responses(401, 403, 404))
async def test_relay(relay_id: UUID, caller: Writer, services: Services) -> RelayTestAnswer:
    """Connect to the relay, encrypt and sign in, and tell how that went. No message is sent."""
    result = await services.managing_relays.test(caller.organisation_id, relay_id)
    attempt = result.attempt
    stage = "ready" if result.ok else str(attempt.stage)
    return RelayTestAnswer(ok=result.ok, stage=stage, code=attempt.code, reply=attempt.text)


def _plan(warm_up: WarmUp | None) -> WarmUpPlan | None:
    return None if warm_up is None else WarmUpPlan(**asdict(warm_up))


async def _answers(services: Container, relays: Sequence[Relay]) -> list[RelayAnswer]:
    health = await services.shared_breakers.health([relay.id for relay in relays])
    return [RelayAnswer.of(relay, health[relay.id]) for relay in relays]


async def _answer(services: Container, relay: Relay) -> RelayAnswer:
    (answer,) = await _answers(services, [relay])
    return answer
