"""What a rule means, in plain Python: what the compiled SQL is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.rules import (
    AllOf,
    AnyOf,
    Compare,
    DaysFromNow,
    Engaged,
    EngagementKind,
    Field,
    Not,
    OnList,
    Operator,
    Rule,
    SubscriptionStatus,
)


@dataclass
class Person:
    """A contact and what else rules ask about."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    locale: str | None
    time_zone: str | None
    status: str
    created_at: datetime
    attributes: dict[str, Any]
    lists: dict[UUID, SubscriptionStatus] = field(default_factory=dict)
    last: dict[EngagementKind, datetime] = field(default_factory=dict)


def fulfils(person: Person, rule: Rule, now: datetime) -> bool:
    match rule:
        case AllOf(rules):
            return all(fulfils(person, each, now) for each in rules)
        case AnyOf(rules):
            return any(fulfils(person, each, now) for each in rules)
        case Not(inner):
            return not fulfils(person, inner, now)
        case OnList(list_id, status):
            return person.lists.get(list_id) is status
        case Engaged(kind, days):
            last = person.last.get(kind)
            return last is not None and (days is None or last >= now - timedelta(days=days))
        case Compare():
            return _compares(_value(person, rule), rule, now)
    raise AssertionError(rule)


def _value(person: Person, rule: Compare) -> Any:
    if isinstance(rule.subject, Field):
        domain = person.email.rpartition("@")[2]
        derived = {Field.DOMAIN: domain, Field.TOP_LEVEL_DOMAIN: domain.rpartition(".")[2]}
        return derived.get(rule.subject) or getattr(person, rule.subject.value, None) or None
    value = person.attributes.get(rule.subject)
    shapes = {
        AttributeType.DATE: r"\d{4}-\d\d-\d\d",
        AttributeType.DATETIME: r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        AttributeType.STRING: r"(?s).*",
    }
    if rule.type in shapes:
        return value if isinstance(value, str) and re.fullmatch(shapes[rule.type], value) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        AttributeType.NUMBER: is_number,
        AttributeType.BOOLEAN: isinstance(value, bool),
        AttributeType.LIST: isinstance(value, list),
    }
    return value if fits[rule.type] else None


def _compares(value: Any, rule: Compare, now: datetime) -> bool:
    wanted = rule.value
    if rule.operator is Operator.EXISTS:
        return (value is not None) is wanted
    if value is None:
        return False
    if isinstance(wanted, DaysFromNow):
        moment = now + timedelta(days=wanted.days)
        wanted = f"{moment:%Y-%m-%d}" if rule.type is AttributeType.DATE else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, datetime):
        wanted = datetime.fromisoformat(wanted)
    return bool(
        {
            Operator.IS: lambda: value == wanted,
            Operator.IN: lambda: value in wanted,
            Operator.CONTAINS: lambda: wanted in value,
            Operator.STARTS_WITH: lambda: value.startswith(wanted),
            Operator.ENDS_WITH: lambda: value.endswith(wanted),
            Operator.LESS_THAN: lambda: value < wanted,
            Operator.AT_MOST: lambda: value <= wanted,
            Operator.MORE_THAN: lambda: value > wanted,
            Operator.AT_LEAST: lambda: value >= wanted,
            Operator.BEFORE: lambda: value < wanted,
            Operator.AFTER: lambda: value > wanted,
        }[rule.operator]()
    )
