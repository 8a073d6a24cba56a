"""The SQL of a rule finds whom the rule means, also where it is narrowed down by indexes of attributes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from posthorn_campaigns.adapters.db.rule_indexes import narrowing, searched
from posthorn_campaigns.adapters.db.rules import condition
from posthorn_campaigns.adapters.db.tables import contact_attributes, contacts, engagements, lists, subscriptions
from posthorn_campaigns.domain.attributes import NOT_INDEXABLE, AttributeType
from posthorn_campaigns.domain.reading_rules import read_rule
from posthorn_campaigns.domain.rules import OPERATORS, EngagementKind, Field, Operator, SubscriptionStatus
from posthorn_common.clock import new_id

from .rule_support import Person, fulfils

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
TYPES = {kind.value: kind for kind in AttributeType}
LISTS = [new_id(), new_id()]
TEXTS = ["a", "b", "ab", "A", "%", "_", "\\", "a%b", "ä", "ß", "é", "'", "\U0001f4ee", "a\nb"]
DATES = ["2026-03-09", "2026-03-10", "2026-03-11", "1999-12-31"]
TIMES = ["2026-03-10T12:29:59Z", "2026-03-10T12:30:00Z", "2026-03-11T12:30:00Z", "2026-03-09T00:00:00Z"]
NUMBERS = st.integers(-5, 5) | st.sampled_from([0.5, -0.5, 2.0, 1e10, 10_000_000_000])
RELATIVE = st.builds(
    lambda key, days: {key: days}, st.sampled_from(["days_ago", "days_from_now"]), st.sampled_from([0, 1, 30])
)
VALUES: dict[AttributeType, st.SearchStrategy[Any]] = {
    AttributeType.STRING: st.sampled_from(TEXTS),
    AttributeType.NUMBER: NUMBERS,
    AttributeType.BOOLEAN: st.booleans(),
    AttributeType.DATE: st.sampled_from(DATES) | RELATIVE,
    AttributeType.DATETIME: st.sampled_from(TIMES) | RELATIVE,
    AttributeType.LIST: st.sampled_from(TEXTS),
}
# Also values from before the declaration, of other types.
STORED = (
    st.sampled_from([*TEXTS, "", *DATES, *TIMES])
    | NUMBERS
    | st.booleans()
    | st.lists(st.sampled_from(TEXTS), max_size=3)
    | st.just({"a": 1})
)
FIELD_VALUES = {
    Field.EMAIL: ["a@example.com", "A@", "a%", "a_", ".com", "b"],
    Field.DOMAIN: ["example.com", "mail.example.de", "EXAMPLE.com", "mail."],
    Field.TOP_LEVEL_DOMAIN: ["com", "de", "e"],
    Field.FIRST_NAME: TEXTS,
    Field.LAST_NAME: TEXTS,
    Field.LOCALE: ["de", "pt-BR", "pt"],
    Field.TIME_ZONE: ["Asia/Tokyo", "Asia"],
    Field.STATUS: ["active", "bounced"],
}


def people() -> st.SearchStrategy[Person]:
    moments = st.sampled_from([NOW - timedelta(days=days) for days in (0, 1, 29, 30, 31)])
    domains = st.sampled_from(["example.com", "mail.example.de", "example.test"])
    return st.builds(
        Person,
        id=st.builds(new_id),
        email=st.builds(
            lambda start, domain: f"{start}{new_id()}@{domain}", st.sampled_from(["a", "b", "a%", "a_x"]), domains
        ),
        first_name=st.sampled_from(["", *TEXTS]),
        last_name=st.sampled_from(["", *TEXTS]),
        locale=st.sampled_from([None, "de", "pt-BR"]),
        time_zone=st.sampled_from([None, "Asia/Tokyo"]),
        status=st.sampled_from(["active", "unsubscribed", "bounced", "complained"]),
        created_at=moments,
        attributes=st.dictionaries(st.sampled_from(list(TYPES)), STORED),
        lists=st.dictionaries(st.sampled_from(LISTS), st.sampled_from(["subscribed", "unsubscribed"])).map(
            lambda found: {each: SubscriptionStatus(status) for each, status in found.items()}
        ),
        last=st.dictionaries(st.sampled_from(EngagementKind), moments),
    )


@st.composite
def comparisons(draw: Any) -> dict[str, Any]:
    if draw(st.booleans()):
        subject = draw(st.sampled_from(Field))
        is_time = subject is Field.CREATED_AT
        kind = AttributeType.DATETIME if is_time else AttributeType.STRING
        values = VALUES[kind] if is_time else st.sampled_from(FIELD_VALUES[subject])
        rule: dict[str, Any] = {"field": subject.value}
    else:
        kind = draw(st.sampled_from(AttributeType))
        values = VALUES[kind]
        rule = {"attribute": kind.value}
    operator = draw(st.sampled_from(sorted(OPERATORS[kind])))
    if operator is Operator.EXISTS:
        values = st.booleans()
    elif operator is Operator.IN:
        values = st.lists(values, min_size=1, max_size=3)
    elif kind is AttributeType.DATE and operator is Operator.IS:
        values = st.sampled_from(DATES) | RELATIVE
    return {**rule, operator.value: draw(values)}


def rules() -> st.SearchStrategy[dict[str, Any]]:
    leaves = (
        comparisons()
        | st.builds(
            lambda each, status: {"list": str(each), "status": status},
            st.sampled_from(LISTS),
            st.sampled_from(["subscribed", "unsubscribed", "unconfirmed"]),
        )
        | st.builds(
            lambda kind, days: {"engagement": kind.value, **({} if days is None else {"within_days": days})},
            st.sampled_from(EngagementKind),
            st.sampled_from([None, 1, 30]),
        )
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda found: {"all": found})
            | st.lists(inner, max_size=3).map(lambda found: {"any": found})
            | inner.map(lambda found: {"not": found})
        ),
        max_leaves=6,
    )


async def _index_attributes(connection: AsyncConnection, organisation_id: UUID) -> dict[str, UUID]:
    """Index every attribute that can be, more than an organisation may."""
    indexes = {kind.value: new_id() for kind in AttributeType if kind not in NOT_INDEXABLE}
    rows = [
        {"id": new_id(), "organisation_id": organisation_id, "key": key, "type": key, "required": False}
        | {"description": "", "created_at": NOW, "index_id": index_id, "index_ready": True}
        for key, index_id in indexes.items()
    ]
    await connection.execute(sa.insert(contact_attributes), rows)
    return indexes


async def _store(connection: AsyncConnection, organisation_id: UUID, everybody: list[Person]) -> None:
    names = ("id", "email", "first_name", "last_name", "locale", "time_zone", "status", "created_at", "attributes")
    rows = [
        {name: getattr(person, name) for name in names}
        | {"organisation_id": organisation_id, "updated_at": person.created_at}
        for person in everybody
    ]
    if not rows:
        return
    await connection.execute(sa.insert(contacts), rows)
    on_lists = [
        {"list_id": each, "contact_id": person.id, "status": status.value}
        | {"organisation_id": organisation_id, "changed_at": NOW}
        for person in everybody
        for each, status in person.lists.items()
    ]
    if on_lists:
        await connection.execute(sa.insert(subscriptions), on_lists)
    engaged = [
        {"contact_id": person.id, "organisation_id": organisation_id}
        | {f"last_{kind.value}_at": person.last.get(kind) for kind in EngagementKind}
        for person in everybody
        if person.last
    ]
    if engaged:
        await connection.execute(sa.insert(engagements), engaged)


@pytest_asyncio.fixture
async def engine(campaigns_database: str) -> AsyncGenerator[AsyncEngine]:
    engine = create_async_engine(campaigns_database)
    async with engine.begin() as connection:
        rows = [
            {"id": each, "organisation_id": new_id(), "name": "x", "description": "", "created_at": NOW}
            for each in LISTS
        ]
        await connection.execute(sa.dialects.postgresql.insert(lists).values(rows).on_conflict_do_nothing())
    yield engine
    await engine.dispose()


async def test_the_sql_of_a_rule_finds_whom_the_rule_means(engine: AsyncEngine) -> None:
    loop = asyncio.get_running_loop()

    async def check(everybody: list[Person], documents: list[dict[str, Any]]) -> None:
        async with engine.connect() as connection:
            organisation_id = new_id()
            indexes = await _index_attributes(connection, organisation_id)
            await _store(connection, organisation_id, everybody)
            for document in documents:
                rule = read_rule(document, TYPES).rule
                expected = {person.id for person in everybody if fulfils(person, rule, NOW)}
                for wanted in (condition(rule, NOW), searched(rule, NOW, narrowing(rule, NOW, indexes))):
                    query = sa.select(contacts.c.id).where(contacts.c.organisation_id == organisation_id, wanted)
                    assert set(await connection.scalars(query)) == expected, json.dumps(document)
            await connection.rollback()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(people(), min_size=1, max_size=8), st.lists(rules(), min_size=1, max_size=10))
    def any_rules(everybody: list[Person], documents: list[dict[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(check(everybody, documents), loop).result()

    await asyncio.to_thread(any_rules)
