"""Audiences in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.contacts import contact_of
from posthorn_campaigns.adapters.db.rule_indexes import narrowing_of, searched
from posthorn_campaigns.adapters.db.rules import Condition, condition
from posthorn_campaigns.adapters.db.searching import time_of, too_slow
from posthorn_campaigns.adapters.db.suppressions import is_suppressed, not_suppressed
from posthorn_campaigns.adapters.db.tables import contacts, subscriptions
from posthorn_campaigns.domain.audience import Contact, ContactStatus
from posthorn_campaigns.domain.rules import AnyOf, Not, Rule, SubscriptionStatus
from posthorn_campaigns.domain.segments import Audience

_LOWEST = UUID(int=0)
# Not a parameter: so the index of audiences serves whatever plan is kept.
_SUBSCRIBED = sa.literal(SubscriptionStatus.SUBSCRIBED.value, literal_execute=True)


class SqlAudiences:
    """Who belongs to an audience."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def page(self, audience: Audience, after: UUID | None, limit: int) -> list[Contact]:
        """Return its contacts, each once, by id; fewer than `limit` only at the end."""
        if not audience.list_ids and not audience.rules:
            return []
        return [contact_of(row) for row in await self._connection.execute(audience_query(audience, after, limit))]

    async def count(self, organisation_id: UUID, rule: Rule) -> tuple[int, int]:
        """Return how many contacts fulfil a rule, and how many of them are active. Raises SegmentTooSlow."""
        at = await time_of(self._connection)
        narrowing = await narrowing_of(self._connection, organisation_id, rule, at)
        query = count_query(organisation_id, searched(rule, at, narrowing))
        async with too_slow(self._connection):
            row = (await self._connection.execute(query)).one()
        return row.found, row.active


def count_query(organisation_id: UUID, wanted: Condition) -> sa.Select[Any]:
    """Return the query that counts contacts, and active ones."""
    active = sa.func.count().filter(contacts.c.status == ContactStatus.ACTIVE, sa.not_(is_suppressed(organisation_id)))
    columns: tuple[sa.ColumnElement[Any], ...] = (sa.func.count().label("found"), active.label("active"))
    return sa.select(*columns).where(contacts.c.organisation_id == organisation_id, wanted)


def audience_query(audience: Audience, after: UUID | None, limit: int) -> sa.Select[Any]:
    """Return the query for one page of an audience.

    Each list is read along its own index from the cursor on, so that a page costs its size, however long lists are.
    """
    after = after or _LOWEST
    members = sa.select(*contacts.columns).where(
        contacts.c.id > after,
        contacts.c.organisation_id == audience.organisation_id,
        contacts.c.status == ContactStatus.ACTIVE,
        not_suppressed(audience.organisation_id),
        *_conditions(audience),
    )
    if not audience.list_ids:
        # Whoever has only asked to be on a list has agreed to nothing yet.
        agreed = sa.or_(sa.not_(_has_subscription("unconfirmed")), _has_subscription("subscribed"))
        return members.where(agreed).order_by(contacts.c.id).limit(limit)
    if len(audience.list_ids) == 1:
        return _on_list(members, audience, sa.literal(audience.list_ids[0]), after, limit)
    wanted = (
        sa.func.unnest(sa.literal(list(audience.list_ids), sa.ARRAY(sa.Uuid)))
        .table_valued(sa.column("list_id", sa.Uuid), name="wanted")
        .render_derived()
    )
    on_list = _on_list(members, audience, wanted.c.list_id, after, limit).lateral("member")
    return (
        sa.select(*on_list.columns)
        .select_from(wanted.join(on_list, sa.true()))
        .ext(distinct_on(on_list.c.id))
        .order_by(on_list.c.id)
        .limit(limit)
    )


def _has_subscription(status: str) -> Condition:
    query = sa.select(sa.literal(1)).where(
        subscriptions.c.contact_id == contacts.c.id, subscriptions.c.status == status
    )
    return query.correlate(contacts).exists()


def _on_list(
    members: sa.Select[Any], audience: Audience, list_id: sa.ColumnElement[UUID], after: UUID, limit: int
) -> sa.Select[Any]:
    """Return those of the members who are on a list, read along its index."""
    return (
        members.join(subscriptions, contacts.c.id == subscriptions.c.contact_id)
        .where(
            subscriptions.c.list_id == list_id,
            subscriptions.c.status == _SUBSCRIBED,
            subscriptions.c.organisation_id == audience.organisation_id,
            subscriptions.c.contact_id > after,
        )
        .order_by(subscriptions.c.contact_id)
        .limit(limit)
    )


def _conditions(audience: Audience) -> list[Condition]:
    found = [condition(Not(rule), audience.at) for rule in audience.excluded]
    if audience.rules:
        found.append(condition(AnyOf(audience.rules), audience.at))
    return found
