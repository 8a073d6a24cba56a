"""Relays: create, list, change, try out, delete."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from uuid import UUID

from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_mailer.app.ports_records import NewRecords, RelayHosts, RelayProbe, Vault
from posthorn_mailer.app.ports_warm_up import DomainToday, WarmUpDays
from posthorn_mailer.domain.errors import DefaultRelayNeeded, PasswordNeeded, RelayInUse
from posthorn_mailer.domain.relays import Relay, TlsMode, password_purpose
from posthorn_mailer.domain.replies import Attempt, Stage
from posthorn_mailer.domain.warm_up import WarmUp


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelay:
    """A relay to create."""

    name: str
    host: str
    port: int
    tls: TlsMode
    verify_certificate: bool
    username: str | None
    password: str | None = field(repr=False)
    max_connections: int
    messages_per_second: float | None
    from_email: str | None
    is_default: bool
    weight: int
    warm_up: WarmUp | None


@dataclass(frozen=True, slots=True)
class WarmUpToday:
    """How far a relay's warm-up is: `limit` None is without one. Single messages count and are not held back."""

    plan: WarmUp | None
    day: date
    limit: int | None
    used: int
    limit_per_domain: int | None
    domains: list[DomainToday]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What happened when a relay was tried out."""

    ok: bool
    attempt: Attempt


_DOMAINS_SHOWN = 100
_WHERE_THE_PASSWORD_GOES = ("host", "port", "tls", "verify_certificate")


class ManagingRelays:
    """The use cases of relays."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewRecords,
        vault: Vault,
        hosts: RelayHosts,
        probe: RelayProbe,
        days: WarmUpDays,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._vault = vault
        self._hosts = hosts
        self._probe = probe
        self._days = days
        self._clock = clock

    async def create(self, organisation_id: UUID, wanted: NewRelay) -> Relay:
        """Create a relay; the organisation's first is its default. Raises RelayHostNotAllowed."""
        await self._hosts.check(wanted.host)
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            await uow.relays.lock(organisation_id)
            is_default = wanted.is_default or await uow.relays.default(organisation_id) is None
            relay = Relay(
                id=new_id(),
                organisation_id=organisation_id,
                name=wanted.name,
                host=wanted.host,
                port=wanted.port,
                tls=wanted.tls,
                verify_certificate=wanted.verify_certificate,
                username=wanted.username,
                max_connections=wanted.max_connections,
                messages_per_second=wanted.messages_per_second,
                from_email=wanted.from_email,
                is_default=is_default,
                weight=wanted.weight,
                warm_up=wanted.warm_up,
                version=1,
                created_at=now,
                updated_at=now,
            )
            if is_default:
                await uow.relays.clear_default(organisation_id)
            password = wanted.password if wanted.username is not None else None
            concerns("relay", relay.id)
            await uow.relays.add(relay, self._sealed(relay.id, password))
        return relay

    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Return a relay. Raises RelayNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.relays.get(organisation_id, relay_id)

    async def list_relays(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Relay]:
        """Return relays, in order of their ids."""
        async with self._new_unit_of_work() as uow:
            return await uow.relays.page(organisation_id, after, limit)

    async def change(self, organisation_id: UUID, relay_id: UUID, changes: dict[str, Any]) -> Relay:
        """Change fields of a relay; `password` None removes the password.

        Raises RelayNotFound, RelayHostNotAllowed, DefaultRelayNeeded, and PasswordNeeded when the stored password
        would go to another server, or be less well protected on the way.
        """
        if "host" in changes:
            await self._hosts.check(changes["host"])
        async with self._new_unit_of_work() as uow:
            await uow.relays.lock(organisation_id)
            relay = await uow.relays.get(organisation_id, relay_id)
            fields = {name: value for name, value in changes.items() if name != "password"}
            changed = replace(relay, **fields, version=relay.version + 1, updated_at=self._clock.now())
            if relay.is_default and not changed.is_default:
                raise DefaultRelayNeeded
            moved = any(getattr(relay, name) != getattr(changed, name) for name in _WHERE_THE_PASSWORD_GOES)
            if moved and changed.username is not None and "password" not in changes:
                raise PasswordNeeded
            if changed.is_default and not relay.is_default:
                await uow.relays.clear_default(organisation_id)
            await uow.relays.save(changed)
            if "password" in changes or changed.username is None:
                password = changes.get("password") if changed.username is not None else None
                await uow.relays.save_password(organisation_id, relay_id, self._sealed(relay_id, password))
        return changed

    async def delete(self, organisation_id: UUID, relay_id: UUID) -> None:
        """Delete a relay; if it was the default, the oldest one becomes it. Raises RelayNotFound, RelayInUse."""
        async with self._new_unit_of_work() as uow:
            await uow.relays.lock(organisation_id)
            await uow.relays.get(organisation_id, relay_id)
            if await uow.relays.in_use(organisation_id, relay_id):
                raise RelayInUse
            await uow.relays.delete(organisation_id, relay_id, self._clock.now())
            await uow.relays.promote_oldest(organisation_id)

    async def warm_up(self, organisation_id: UUID, relay_id: UUID) -> WarmUpToday:
        """Return how far a relay's warm-up is. Raises RelayNotFound."""
        relay = await self.get(organisation_id, relay_id)
        today = await self._days.used_today(relay)
        limit = None if relay.warm_up is None else relay.warm_up.limit_on(today.day)
        per_domain = None if relay.warm_up is None else relay.warm_up.limit_per_domain_on(today.day)
        domains = [] if per_domain is None else await self._days.domains_today(relay, _DOMAINS_SHOWN)
        return WarmUpToday(relay.warm_up, today.day, limit, today.used, per_domain, domains)

    async def test(self, organisation_id: UUID, relay_id: UUID) -> ProbeResult:
        """Connect to the relay, encrypt and sign in; nothing is sent. Raises RelayNotFound."""
        relay = await self.get(organisation_id, relay_id)
        attempt = await self._probe.probe(relay)
        return ProbeResult(attempt.stage is Stage.MAIL and attempt.code is not None and attempt.code < 300, attempt)

    def _sealed(self, relay_id: UUID, password: str | None) -> bytes | None:
        return None if password is None else self._vault.seal(password.encode(), purpose=password_purpose(relay_id))
