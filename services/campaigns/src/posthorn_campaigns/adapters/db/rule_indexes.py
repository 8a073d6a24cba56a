"""Which indexes of attributes narrow down the contacts that a rule can be about.

What an index finds is only looked at: the rule's own condition decides. So an index may know too much, of long texts
the beginning only, and a rule is only narrowed down by what all its contacts must fulfil.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.attribute_indexes import ready_indexes
from posthorn_campaigns.adapters.db.rules import Condition, condition, moment
from posthorn_campaigns.adapters.db.tables import contact_attribute_values, contacts
from posthorn_campaigns.domain.attributes import INDEXED_CHARACTERS, AttributeType
from posthorn_campaigns.domain.rules import AllOf, AnyOf, Compare, DaysFromNow, Field, Operator, Rule

_INDEX = contact_attribute_values.c
# To fetch more contacts one by one takes longer than to read them all.
_FEW = 20_000
Found = sa.Select[Any] | sa.CompoundSelect[Any]
"""A query for ids of contacts."""


def searched(rule: Rule, at: datetime, narrowing: Sequence[Found]) -> Condition:
    """Return the condition of a rule on contacts among those that indexes have found."""
    return sa.and_(*(contacts.c.id.in_(each) for each in narrowing), condition(rule, at))


async def narrowing_of(connection: AsyncConnection, organisation_id: UUID, rule: Rule, at: datetime) -> list[Found]:
    """Return queries for contacts that are worth being made: each finds few, and all that are wanted are among them."""
    indexes = await ready_indexes(connection, organisation_id)
    return [found for found in narrowing(rule, at, indexes) if await _finds_few(connection, found)]


async def _finds_few(connection: AsyncConnection, found: Found) -> bool:
    some = found.limit(_FEW + 1).subquery()
    return bool((await connection.execute(sa.select(sa.func.count() <= _FEW).select_from(some))).scalar_one())


def narrowing(rule: Rule, at: datetime, indexes: Mapping[str, UUID]) -> list[Found]:
    """Return queries for contacts by indexes, named by attribute; whoever fulfils the rule is in every one of them."""
    match rule:
        case AllOf(rules):
            return [query for each in rules for query in narrowing(each, at, indexes)]
        case AnyOf(rules):
            parts = [narrowing(each, at, indexes) for each in rules]
            return [sa.union_all(*(part[0] for part in parts))] if parts and all(parts) else []
        case Compare(subject) if not isinstance(subject, Field) and subject in indexes:
            return _values(rule, indexes[subject], at)
        case _:
            return []


def _values(rule: Compare, index_id: UUID, at: datetime) -> list[Found]:
    wanted = moment(at, rule.value, rule.type) if isinstance(rule.value, DaysFromNow) else rule.value
    is_number = rule.type is AttributeType.NUMBER
    value: sa.ColumnElement[Any] = _INDEX.number_value if is_number else _INDEX.text_value
    compared: Condition
    # Numbers may be rounded in the index: so those that are equal to a bound are always looked at.
    match rule.operator:
        case Operator.IS:
            compared = value == _indexed(wanted)
        case Operator.IN:
            compared = value.in_([_indexed(each) for each in wanted])
        case Operator.LESS_THAN | Operator.AT_MOST | Operator.BEFORE:
            compared = value <= _indexed(wanted)
        case Operator.MORE_THAN | Operator.AT_LEAST | Operator.AFTER:
            compared = value >= _indexed(wanted)
        case _:
            return []
    return [sa.select(_INDEX.contact_id).where(_INDEX.index_id == index_id, compared)]


def _indexed(value: Any) -> str | float:
    """Return a value as it is in the index."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value[:INDEXED_CHARACTERS] if isinstance(value, str) else float(value)
