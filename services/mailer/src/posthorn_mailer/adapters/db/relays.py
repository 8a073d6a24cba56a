"""Relays in PostgreSQL."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_common.secretbox import SecretBox
from posthorn_mailer.adapters.db.tables import messages, relay_days, relay_domain_days, relays, sends
from posthorn_mailer.adapters.db.warm_up_days import count_message
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.relays import Relay, TlsMode, password_purpose
from posthorn_mailer.domain.warm_up import WarmUp

_FIELDS = tuple(field.name for field in dataclasses.fields(Relay))
_COLUMNS = [relays.c[name] for name in _FIELDS]
_KEPT_SECONDS = 2.0
_KEPT_ORGANISATIONS = 1000


class SqlRelays:
    """See the port RelayRecords."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's relays until the transaction ends."""
        key = sa.func.hashtextextended(f"relays.{organisation_id}", 0)
        await self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    async def add(self, relay: Relay, sealed_password: bytes | None) -> None:
        """Store a new relay."""
        values = {**_values(relay), "sealed_password": sealed_password}
        await self._connection.execute(sa.insert(relays).values(values))

    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Return a relay of the organisation. Raises RelayNotFound."""
        return await get_relay(self._connection, organisation_id, relay_id)

    async def default(self, organisation_id: UUID) -> Relay | None:
        """Return the organisation's default relay."""
        return await default_relay(self._connection, organisation_id)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Relay]:
        """Return relays by id, after `after`."""
        query = _select(organisation_id).order_by(relays.c.id).limit(limit)
        if after is not None:
            query = query.where(relays.c.id > after)
        return [_relay(row) for row in (await self._connection.execute(query)).mappings()]

    async def save(self, relay: Relay) -> None:
        """Store a changed relay."""
        await self._change(relay.organisation_id, relay.id, _values(relay))

    async def save_password(self, organisation_id: UUID, relay_id: UUID, sealed: bytes | None) -> None:
        """Store another password, or none."""
        await self._change(organisation_id, relay_id, {"sealed_password": sealed})

    async def clear_default(self, organisation_id: UUID) -> None:
        """Let no relay of the organisation be the default."""
        change = sa.update(relays).where(relays.c.organisation_id == organisation_id, relays.c.is_default)
        await self._connection.execute(change.values(is_default=False))

    async def promote_oldest(self, organisation_id: UUID) -> None:
        """Make the oldest relay the default, if there is one and none is."""
        if await self.default(organisation_id) is not None:
            return
        oldest = await self.page(organisation_id, None, 1)
        for relay in oldest:
            await self._change(organisation_id, relay.id, {"is_default": True})

    async def in_use(self, organisation_id: UUID, relay_id: UUID) -> bool:
        """Whether campaigns or messages that are not finished go through this very relay."""
        campaign = sa.exists().where(
            sends.c.organisation_id == organisation_id,
            sends.c.relay_id == relay_id,
            sends.c.started_at.is_not(None),
            sends.c.drained_at.is_(None),
            sends.c.status.in_(("sending", "paused")),
        )
        message = sa.exists().where(
            messages.c.organisation_id == organisation_id,
            messages.c.relay_id == relay_id,
            messages.c.status.in_(("pending", "deferred", "sending")),
        )
        return bool(await self._connection.scalar(sa.select(sa.or_(campaign, message))))

    async def delete(self, organisation_id: UUID, relay_id: UUID, at: datetime) -> None:
        """Keep the row for what refers to it, without its password."""
        gone = {"deleted_at": at, "updated_at": at, "is_default": False, "sealed_password": None}
        await self._change(organisation_id, relay_id, gone)
        for days in (relay_days, relay_domain_days):
            await self._connection.execute(
                sa.delete(days).where(days.c.organisation_id == organisation_id, days.c.relay_id == relay_id)
            )

    async def count_message(self, relay: Relay) -> None:
        """Count a message among those of today."""
        await count_message(self._connection, relay)

    async def _change(self, organisation_id: UUID, relay_id: UUID, values: dict[str, Any]) -> None:
        change = sa.update(relays).where(relays.c.organisation_id == organisation_id, relays.c.id == relay_id)
        await self._connection.execute(change.values(values))


class SqlRelayDirectory:
    """See the port Relays; also opens the relays' passwords.

    Answers are kept for a moment, since every batch asks: a change reaches a worker within two seconds.
    """

    def __init__(self, engine: AsyncEngine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box
        self._kept: dict[UUID, tuple[float, Sequence[Relay]]] = {}

    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Return a relay of the organisation. Raises RelayNotFound."""
        relay = await self._find(organisation_id, lambda relay: relay.id == relay_id)
        if relay is None:
            raise RelayNotFound
        return relay

    async def default(self, organisation_id: UUID) -> Relay | None:
        """Return the organisation's default relay."""
        return await self._find(organisation_id, lambda relay: relay.is_default)

    async def of(self, organisation_id: UUID) -> Sequence[Relay]:
        """Return all relays of the organisation."""
        return self._remembered(organisation_id) or await self._read(organisation_id)

    async def password(self, relay: Relay) -> str | None:
        """Return the relay's password. Raises SecretUnreadable if it was sealed with another key."""
        query = sa.select(relays.c.sealed_password).where(
            relays.c.organisation_id == relay.organisation_id, relays.c.id == relay.id
        )
        async with self._engine.connect() as connection:
            sealed = await connection.scalar(query)
        return None if sealed is None else self._box.open(sealed, purpose=password_purpose(relay.id)).decode()

    async def _find(self, organisation_id: UUID, wanted: Callable[[Relay], bool]) -> Relay | None:
        # One that is missing may have been added a moment ago.
        known = next(filter(wanted, self._remembered(organisation_id)), None)
        return known or next(filter(wanted, await self._read(organisation_id)), None)

    def _remembered(self, organisation_id: UUID) -> Sequence[Relay]:
        kept = self._kept.get(organisation_id)
        return kept[1] if kept is not None and time.monotonic() - kept[0] < _KEPT_SECONDS else ()

    async def _read(self, organisation_id: UUID) -> Sequence[Relay]:
        async with self._engine.connect() as connection:
            found = [_relay(row) for row in (await connection.execute(_select(organisation_id))).mappings()]
        if len(self._kept) >= _KEPT_ORGANISATIONS:
            self._kept.clear()
        self._kept[organisation_id] = (time.monotonic(), found)
        return found


async def get_relay(connection: AsyncConnection, organisation_id: UUID, relay_id: UUID) -> Relay:
    """Return a relay of the organisation. Raises RelayNotFound."""
    relay = await _find(connection, organisation_id, relay_id)
    if relay is None:
        raise RelayNotFound
    return relay


async def default_relay(connection: AsyncConnection, organisation_id: UUID) -> Relay | None:
    """Return the organisation's default relay."""
    row = (await connection.execute(_select(organisation_id).where(relays.c.is_default))).mappings().one_or_none()
    return None if row is None else _relay(row)


async def _find(connection: AsyncConnection, organisation_id: UUID, relay_id: UUID) -> Relay | None:
    row = (await connection.execute(_select(organisation_id).where(relays.c.id == relay_id))).mappings().one_or_none()
    return None if row is None else _relay(row)


def _select(organisation_id: UUID) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(relays.c.organisation_id == organisation_id, relays.c.deleted_at.is_(None))


def _relay(row: sa.RowMapping) -> Relay:
    plan = row["warm_up"]
    warm_up = None if plan is None else WarmUp(**{**plan, "starts_on": date.fromisoformat(plan["starts_on"])})
    return Relay(**{**row, "tls": TlsMode(row["tls"]), "warm_up": warm_up})


def _values(relay: Relay) -> dict[str, Any]:
    values = dataclasses.asdict(relay)
    if relay.warm_up is not None:
        values["warm_up"]["starts_on"] = relay.warm_up.starts_on.isoformat()
    return values
