"""The rules of segments: a small language in JSON, read into a tree. The README shows it by examples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.attributes import AttributeType


class Operator(StrEnum):
    """How a value is compared. A contact without the value fulfils none of them but `exists: false`."""

    IS = "is"
    IN = "in"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    MORE_THAN = "more_than"
    AT_LEAST = "at_least"
    BEFORE = "before"
    AFTER = "after"
    EXISTS = "exists"


_TEXT = frozenset(
    {Operator.IS, Operator.IN, Operator.CONTAINS, Operator.STARTS_WITH, Operator.ENDS_WITH, Operator.EXISTS}
)
_ORDER = frozenset({Operator.LESS_THAN, Operator.AT_MOST, Operator.MORE_THAN, Operator.AT_LEAST})
OPERATORS: dict[AttributeType, frozenset[Operator]] = {
    AttributeType.STRING: _TEXT,
    AttributeType.NUMBER: _ORDER | {Operator.IS, Operator.IN, Operator.EXISTS},
    AttributeType.BOOLEAN: frozenset({Operator.IS, Operator.EXISTS}),
    AttributeType.DATE: frozenset({Operator.IS, Operator.BEFORE, Operator.AFTER, Operator.EXISTS}),
    AttributeType.DATETIME: frozenset({Operator.BEFORE, Operator.AFTER, Operator.EXISTS}),
    AttributeType.LIST: frozenset({Operator.CONTAINS, Operator.EXISTS}),
}


class Field(StrEnum):
    """What every contact has besides its attributes. `domain` is what follows the @ of the address."""

    EMAIL = "email"
    DOMAIN = "domain"
    TOP_LEVEL_DOMAIN = "top_level_domain"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    LOCALE = "locale"
    TIME_ZONE = "time_zone"
    STATUS = "status"
    CREATED_AT = "created_at"


FIELD_TYPES: dict[Field, AttributeType] = {
    field: AttributeType.DATETIME if field is Field.CREATED_AT else AttributeType.STRING for field in Field
}


class EngagementKind(StrEnum):
    """What has happened with messages: handed over to the recipient's server, opened, a link clicked."""

    SENT = "sent"
    OPENED = "opened"
    CLICKED = "clicked"


class SubscriptionStatus(StrEnum):
    """What a contact is to a list. Campaigns go to those who are `subscribed`."""

    UNCONFIRMED = "unconfirmed"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class DaysFromNow:
    """A time relative to the moment at which the rule is applied; negative days lie in the past."""

    days: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of the rules; all contacts if there are none."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the rules; nobody if there are none."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whoever does not fulfil the rule."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Compare:
    """A field or, by its key, an attribute, compared with a value."""

    subject: Field | str
    type: AttributeType
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class OnList:
    """Whoever has the status on the list."""

    list_id: UUID
    status: SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Engaged:
    """Whoever did so in the last days; ever, without a number."""

    kind: EngagementKind
    within_days: int | None


@dataclass(frozen=True, slots=True)
class InSegment:
    """Whoever fulfils the rule of another segment."""

    segment_id: UUID


Rule = AllOf | AnyOf | Not | Compare | OnList | Engaged | InSegment
