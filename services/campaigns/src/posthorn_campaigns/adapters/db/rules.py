"""Rules → SQL conditions on `contacts`. What people have written goes into bind parameters only.

No condition is ever NULL, so that `not` means the others. Subscriptions and engagements are those of the contact, and
so of its organisation: the query filters contacts by organisation.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from posthorn_campaigns.adapters.db.tables import contacts, engagements, subscriptions
from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.rules import (
    AllOf,
    AnyOf,
    Compare,
    DaysFromNow,
    Engaged,
    EngagementKind,
    Field,
    InSegment,
    Not,
    OnList,
    Operator,
    Rule,
)

Condition = sa.ColumnElement[bool]

_EMAIL = contacts.c.email
_TEXTS: dict[Field, sa.ColumnElement[str]] = {
    Field.EMAIL: _EMAIL,
    # Addresses have no quoted local parts: there is one @.
    Field.DOMAIN: sa.func.split_part(_EMAIL, "@", 2),
    Field.TOP_LEVEL_DOMAIN: sa.func.reverse(sa.func.split_part(sa.func.reverse(_EMAIL), ".", 1)),
    Field.FIRST_NAME: contacts.c.first_name,
    Field.LAST_NAME: contacts.c.last_name,
    Field.LOCALE: sa.func.coalesce(contacts.c.locale, ""),
    Field.TIME_ZONE: sa.func.coalesce(contacts.c.time_zone, ""),
    Field.STATUS: contacts.c.status,
}
_LAST = {
    EngagementKind.SENT: engagements.c.last_sent_at,
    EngagementKind.OPENED: engagements.c.last_opened_at,
    EngagementKind.CLICKED: engagements.c.last_clicked_at,
}
_SHAPES = {
    AttributeType.DATE: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    AttributeType.DATETIME: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
}
_JSON_TYPES = {
    AttributeType.STRING: "string",
    AttributeType.NUMBER: "number",
    AttributeType.BOOLEAN: "boolean",
    AttributeType.LIST: "array",
}


def condition(rule: Rule, at: datetime) -> Condition:
    """Return the condition; relative dates refer to `at`. Other segments must be in their places already."""
    match rule:
        case AllOf(rules):
            return sa.and_(sa.true(), *(condition(each, at) for each in rules))
        case AnyOf(rules):
            return sa.or_(sa.false(), *(condition(each, at) for each in rules))
        case Not(inner):
            return sa.not_(condition(inner, at))
        case OnList(list_id, status):
            return (
                sa.select(sa.literal(1))
                .where(
                    subscriptions.c.contact_id == contacts.c.id,
                    subscriptions.c.list_id == list_id,
                    # Not a parameter: so the index of audiences serves.
                    subscriptions.c.status == sa.literal(status.value, literal_execute=True),
                )
                .correlate(contacts)
                .exists()
            )
        case Engaged(kind, within_days):
            return _engaged(kind, within_days, at)
        case Compare(subject, kind, operator, value):
            if isinstance(value, DaysFromNow):
                value = moment(at, value, kind)
            if isinstance(subject, Field):
                return _field(subject, operator, value)
            return _attribute(subject, kind, operator, value)
        case InSegment():
            raise ValueError("a segment's name stands where its rule should")


def _engaged(kind: EngagementKind, within_days: int | None, at: datetime) -> Condition:
    last = _LAST[kind]
    since = last.is_not(None) if within_days is None else last >= at - timedelta(days=within_days)
    query = sa.select(sa.literal(1)).where(
        engagements.c.contact_id == contacts.c.id,
        # So that whoever has done so lately is found by the index of this organisation.
        engagements.c.organisation_id == contacts.c.organisation_id,
        since,
    )
    return query.correlate(contacts).exists()


def moment(at: datetime, wanted: DaysFromNow, kind: AttributeType) -> str:
    """Return a relative time as values of the type are stored."""
    time = at + timedelta(days=wanted.days)
    if kind is AttributeType.DATE:
        return time.date().isoformat()
    return f"{time.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def _field(subject: Field, operator: Operator, value: Any) -> Condition:
    if subject is Field.CREATED_AT:
        if operator is Operator.EXISTS:
            return sa.true() if value else sa.false()
        time = datetime.fromisoformat(value)
        return contacts.c.created_at < time if operator is Operator.BEFORE else contacts.c.created_at > time
    text = _TEXTS[subject]
    if operator is Operator.EXISTS:
        return text != "" if value else text == ""
    if subject is Field.EMAIL and operator is Operator.STARTS_WITH:
        return text.like(beginning(value))
    return _text(text, operator, value)


def _text(text: sa.ColumnElement[str], operator: Operator, value: Any) -> Condition:
    found: Condition
    match operator:
        case Operator.IS:
            found = text == value
        case Operator.IN:
            found = text == sa.any_(sa.literal(value, sa.ARRAY(sa.Text)))
        case Operator.CONTAINS:
            found = sa.func.strpos(text, value) > 0
        case Operator.STARTS_WITH:
            found = sa.func.left(text, len(value)) == value
        case _:
            found = sa.func.right(text, len(value)) == value
    return found


def _attribute(key: str, kind: AttributeType, operator: Operator, value: Any) -> Condition:
    attributes = contacts.c.attributes
    equal: Condition
    if operator is Operator.EXISTS:
        there = _there(key, kind)
        return there if value else sa.not_(there)
    if kind is AttributeType.LIST or operator is Operator.IS:
        equal = attributes.contains({key: [value] if kind is AttributeType.LIST else value})
        return equal
    if operator is Operator.IN and kind is AttributeType.NUMBER:
        return sa.or_(*(attributes.contains({key: each}) for each in value))
    if kind is AttributeType.NUMBER:
        return sa.func.coalesce(sa.and_(_there(key, kind), _order(attributes[key], operator, value)), sa.false())
    text = attributes[key].astext
    if kind is AttributeType.STRING:
        return sa.func.coalesce(sa.and_(_there(key, kind), _text(text, operator, value)), sa.false())
    ordered = text.collate("C")
    compared = ordered < value if operator is Operator.BEFORE else ordered > value
    return sa.func.coalesce(sa.and_(_there(key, kind), compared), sa.false())


def _there(key: str, kind: AttributeType) -> Condition:
    """Whether the contact has a value of the declared type."""
    value = contacts.c.attributes[key]
    if kind in _SHAPES:
        return sa.func.coalesce(value.astext.regexp_match(_SHAPES[kind]), sa.false())
    return sa.func.coalesce(sa.func.jsonb_typeof(value) == _JSON_TYPES[kind], sa.false())


def _order(number: Any, operator: Operator, value: Any) -> Condition:
    # Numbers in JSONB compare as numbers; whether it is one has been asked before.
    other = sa.literal(value, contacts.c.attributes.type)
    compared: Condition
    match operator:
        case Operator.LESS_THAN:
            compared = number < other
        case Operator.AT_MOST:
            compared = number <= other
        case Operator.MORE_THAN:
            compared = number > other
        case _:
            compared = number >= other
    return compared


def beginning(text: str) -> str:
    """Return the LIKE pattern of what begins with the text."""
    # Backslash is LIKE's own escape character: with any other one the indexes could not be used.
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
