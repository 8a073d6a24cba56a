"""Reading rules: JSON → tree, with an error for each place that makes no sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from posthorn_campaigns.domain.attributes import AttributeType, stored_value
from posthorn_campaigns.domain.errors import InvalidRule, RuleProblem, RuleTooLarge, SegmentCycle, SegmentNotFound
from posthorn_campaigns.domain.rules import (
    FIELD_TYPES,
    OPERATORS,
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
    SubscriptionStatus,
)

MAX_DEPTH = 8
MAX_RULES = 200
MAX_EXPANDED_RULES = 1000
MAX_SEGMENTS_DEEP = 5
_MAX_EXPANDED_DEPTH = (MAX_SEGMENTS_DEEP + 1) * MAX_DEPTH
MAX_CHOICES = 200
MAX_TEXT_CHARACTERS = 500
MAX_DAYS = 36_500
_CASELESS = frozenset({Field.EMAIL, Field.DOMAIN, Field.TOP_LEVEL_DOMAIN})
Path = tuple[str | int, ...]
Name = TypeVar("Name", bound=StrEnum)


@dataclass(slots=True)
class RuleReading:
    """A rule and what it names; lists and segments with the path to the place."""

    rule: Rule
    attributes: set[str] = field(default_factory=set)
    lists: list[tuple[Path, UUID]] = field(default_factory=list)
    segments: list[tuple[Path, UUID]] = field(default_factory=list)


def read_rule(document: Any, types: Mapping[str, AttributeType], *, is_expanded: bool = False) -> RuleReading:
    """Return the rule. `types` are the declared attributes. Raises InvalidRule, which names every place."""
    reader = _Reader(types, is_expanded=is_expanded)
    rule = reader.rule(document, ("rule",), depth=1)
    if reader.problems or rule is None:
        raise InvalidRule(reader.problems)
    reader.reading.rule = rule
    return reader.reading


def expanded(document: Mapping[str, Any], others: Mapping[UUID, Any], *, within: UUID | None = None) -> dict[str, Any]:
    """Return a rule that has been read, with the rules of other segments in the places of their names.

    `within` is the segment that it belongs to. Raises SegmentCycle, RuleTooLarge, SegmentNotFound.
    """
    return _Expansion(others).rule(document, () if within is None else (within,))


class _Expansion:
    def __init__(self, others: Mapping[UUID, Any]) -> None:
        self._others = others
        self._count = 0

    def rule(self, document: Mapping[str, Any], path: tuple[UUID, ...]) -> dict[str, Any]:
        self._count += 1
        if self._count > MAX_EXPANDED_RULES or len(path) > MAX_SEGMENTS_DEEP:
            raise RuleTooLarge(MAX_EXPANDED_RULES, MAX_SEGMENTS_DEEP)
        if "segment" in document:
            segment_id = UUID(document["segment"])
            if segment_id in path:
                raise SegmentCycle
            if segment_id not in self._others:
                raise SegmentNotFound
            return self.rule(self._others[segment_id], (*path, segment_id))
        if "not" in document:
            return {"not": self.rule(document["not"], path)}
        for joint in ("all", "any"):
            if joint in document:
                return {joint: [self.rule(item, path) for item in document[joint]]}
        return dict(document)


class _Refused(Exception):
    def __init__(self, path: Path, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = RuleProblem(path, code, message)


class _Reader:
    def __init__(self, types: Mapping[str, AttributeType], *, is_expanded: bool) -> None:
        self.problems: list[RuleProblem] = []
        self.reading = RuleReading(rule=AllOf(()))
        self._types = types
        self._count = 0
        self._max_rules = MAX_EXPANDED_RULES if is_expanded else MAX_RULES
        self._max_depth = _MAX_EXPANDED_DEPTH if is_expanded else MAX_DEPTH
        self._readers: dict[str, Callable[[dict[str, Any], Path, int], Rule | None]] = {
            "all": self._all,
            "any": self._any,
            "not": self._not,
            "attribute": self._attribute,
            "field": self._field,
            "list": self._list,
            "engagement": self._engagement,
            "segment": self._segment,
        }

    def rule(self, document: Any, path: Path, depth: int) -> Rule | None:
        """Return the rule at a place, or None when it makes no sense; `problems` then says why."""
        self._count += 1
        if self._count > self._max_rules:
            if self._count == self._max_rules + 1:
                self._note(path, "too_large", f"there may be {self._max_rules} rules")
            return None
        try:
            return self._read(document, path, depth)
        except _Refused as refused:
            self.problems.append(refused.problem)
            return None

    def _read(self, document: Any, path: Path, depth: int) -> Rule | None:
        if depth > self._max_depth:
            raise _Refused(path, "too_deep", f"rules may be nested {self._max_depth} deep")
        if not isinstance(document, dict):
            raise _Refused(path, "invalid_rule", "a rule is an object")
        kinds = [kind for kind in self._readers if kind in document]
        if len(kinds) != 1:
            raise _Refused(path, "unknown_rule", f"a rule has one of {', '.join(self._readers)}")
        return self._readers[kinds[0]](document, path, depth)

    def _all(self, document: dict[str, Any], path: Path, depth: int) -> Rule:
        return AllOf(self._rules(document, "all", path, depth))

    def _any(self, document: dict[str, Any], path: Path, depth: int) -> Rule:
        return AnyOf(self._rules(document, "any", path, depth))

    def _rules(self, document: dict[str, Any], key: str, path: Path, depth: int) -> tuple[Rule, ...]:
        self._only(document, {key}, path)
        if not isinstance(document[key], list):
            raise _Refused((*path, key), "invalid_value", "must be a list of rules")
        found = [self.rule(item, (*path, key, number), depth + 1) for number, item in enumerate(document[key])]
        return tuple(rule for rule in found if rule is not None)

    def _not(self, document: dict[str, Any], path: Path, depth: int) -> Rule | None:
        self._only(document, {"not"}, path)
        rule = self.rule(document["not"], (*path, "not"), depth + 1)
        return None if rule is None else Not(rule)

    def _attribute(self, document: dict[str, Any], path: Path, _depth: int) -> Rule | None:
        key = document["attribute"]
        if not isinstance(key, str) or key not in self._types:
            raise _Refused((*path, "attribute"), "unknown_attribute", "names no declared attribute")
        self.reading.attributes.add(key)
        return self._comparison(key, self._types[key], document, path, "attribute")

    def _field(self, document: dict[str, Any], path: Path, _depth: int) -> Rule | None:
        subject = self._one_of(Field, document["field"], (*path, "field"))
        return self._comparison(subject, FIELD_TYPES[subject], document, path, "field")

    def _comparison(
        self, subject: Field | str, kind: AttributeType, document: dict[str, Any], path: Path, key: str
    ) -> Rule | None:
        known = OPERATORS[kind]
        given = [name for name in document if name != key]
        for name in given:
            if name not in known:
                self._note((*path, name), "unknown_operator", f"a {kind} has {', '.join(sorted(known))}")
        if len(given) != 1:
            raise _Refused(path, "invalid_rule", f"compare by one of {', '.join(sorted(known))}")
        if given[0] not in known:
            return None
        operator = Operator(given[0])
        try:
            value = _operand(operator, kind, document[operator])
        except ValueError as error:
            raise _Refused((*path, operator), "invalid_value", str(error)) from error
        if subject in _CASELESS and operator is not Operator.EXISTS:
            value = [item.lower() for item in value] if isinstance(value, list) else value.lower()
        return Compare(subject, kind, operator, value)

    def _list(self, document: dict[str, Any], path: Path, _depth: int) -> Rule | None:
        self._only(document, {"list", "status"}, path)
        list_id = self._id(document["list"], (*path, "list"))
        status = self._one_of(SubscriptionStatus, document.get("status", "subscribed"), (*path, "status"))
        self.reading.lists.append(((*path, "list"), list_id))
        return OnList(list_id, status)

    def _engagement(self, document: dict[str, Any], path: Path, _depth: int) -> Rule | None:
        self._only(document, {"engagement", "within_days"}, path)
        kind = self._one_of(EngagementKind, document["engagement"], (*path, "engagement"))
        days = document.get("within_days")
        if days is not None and not _is_days(days, least=1):
            raise _Refused((*path, "within_days"), "invalid_value", f"must be 1 to {MAX_DAYS} days")
        return Engaged(kind, days)

    def _segment(self, document: dict[str, Any], path: Path, _depth: int) -> Rule | None:
        self._only(document, {"segment"}, path)
        segment_id = self._id(document["segment"], (*path, "segment"))
        self.reading.segments.append(((*path, "segment"), segment_id))
        return InSegment(segment_id)

    def _only(self, document: dict[str, Any], keys: set[str], path: Path) -> None:
        for key in document:
            if key not in keys:
                self._note((*path, key), "unknown_member", "does not belong here")

    def _one_of(self, kind: type[Name], value: Any, path: Path) -> Name:
        names = [member.value for member in kind]
        if not isinstance(value, str) or value not in names:
            raise _Refused(path, "invalid_value", f"must be one of {', '.join(names)}")
        return kind(value)

    def _id(self, value: Any, path: Path) -> UUID:
        try:
            return UUID(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise _Refused(path, "invalid_value", "must be an id") from error

    def _note(self, path: Path, code: str, message: str) -> None:
        self.problems.append(RuleProblem(path, code, message))


def _operand(operator: Operator, kind: AttributeType, value: Any) -> Any:
    """Return what to compare with. Raises ValueError."""
    if operator is Operator.EXISTS:
        return stored_value(AttributeType.BOOLEAN, value)
    if operator is Operator.IN:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHOICES:
            raise ValueError(f"must be a list of 1 to {MAX_CHOICES} values")
        return [_scalar(kind, item) for item in value]
    return _scalar(AttributeType.STRING if kind is AttributeType.LIST else kind, value)


def _scalar(kind: AttributeType, value: Any) -> Any:
    if kind in {AttributeType.DATE, AttributeType.DATETIME}:
        if isinstance(value, dict):
            return _relative(value)
        if kind is AttributeType.DATETIME and isinstance(value, str) and len(value) == len("2026-05-01"):
            value = f"{value}T00:00:00Z"
    stored = stored_value(kind, value)
    if isinstance(stored, str) and (
        not 0 < len(stored) <= MAX_TEXT_CHARACTERS or "\0" in stored or any("\ud800" <= c <= "\udfff" for c in stored)
    ):
        raise ValueError(f"must have 1 to {MAX_TEXT_CHARACTERS} characters, and no NUL")
    return stored


def _relative(value: dict[str, Any]) -> DaysFromNow:
    match value:
        case {"days_ago": days} if len(value) == 1 and _is_days(days, least=0):
            return DaysFromNow(-days)
        case {"days_from_now": days} if len(value) == 1 and _is_days(days, least=0):
            return DaysFromNow(days)
    raise ValueError(f'must be a date, or such as {{"days_ago": 30}} or {{"days_from_now": 7}}, up to {MAX_DAYS}')


def _is_days(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_DAYS
