"""Reading rules, without servers."""

from __future__ import annotations

import itertools
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.errors import InvalidRule, RuleTooLarge, SegmentCycle, SegmentNotFound
from posthorn_campaigns.domain.reading_rules import MAX_DEPTH, MAX_RULES, expanded, read_rule
from posthorn_campaigns.domain.rules import AllOf, Compare, DaysFromNow, Field, Not, Operator

TYPES = {kind.value: kind for kind in AttributeType}
ID = str(uuid4())


def problems_of(rule: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRule) as refused:
        read_rule(rule, TYPES)
    return [(problem["pointer"], problem["code"]) for problem in refused.value.problems]


def test_a_rule_is_read_with_what_it_uses() -> None:
    other = str(uuid4())
    reading = read_rule(
        {"all": [{"attribute": "number", "at_least": 3}, {"not": {"list": ID}}, {"segment": other}]}, TYPES
    )
    assert isinstance(reading.rule, AllOf)
    assert isinstance(reading.rule.rules[1], Not)
    assert reading.attributes == {"number"}
    assert reading.lists == [(("rule", "all", 1, "not", "list"), UUID(ID))]
    assert reading.segments == [(("rule", "all", 2, "segment"), UUID(other))]


def test_values_are_read_in_the_form_in_which_they_are_stored() -> None:
    def value(rule: Any) -> Any:
        found = read_rule(rule, TYPES).rule
        assert isinstance(found, Compare)
        return found.value

    assert value({"attribute": "datetime", "after": "2026-05-01T02:00:00+02:00"}) == "2026-05-01T00:00:00Z"
    assert value({"attribute": "datetime", "after": "2026-05-01"}) == "2026-05-01T00:00:00Z"
    assert value({"attribute": "date", "before": {"days_from_now": 7}}) == DaysFromNow(7)
    assert value({"field": "created_at", "before": {"days_ago": 7}}) == DaysFromNow(-7)
    assert value({"field": "domain", "in": ["Example.COM"]}) == ["example.com"]
    assert read_rule({"field": "email", "exists": True}, TYPES).rule == Compare(
        Field.EMAIL, AttributeType.STRING, Operator.EXISTS, True
    )


@pytest.mark.parametrize(
    ("rule", "problems"),
    [
        ("x", [("/rule", "invalid_rule")]),
        ({}, [("/rule", "unknown_rule")]),
        ({"all": [], "any": []}, [("/rule", "unknown_rule")]),
        ({"all": {}}, [("/rule/all", "invalid_value")]),
        ({"all": [{"a/b~c": 1}]}, [("/rule/all/0", "unknown_rule")]),
        ({"not": {"list": ID, "a/b~c": 1}}, [("/rule/not/a~1b~0c", "unknown_member")]),
        ({"attribute": "nobody", "is": 1}, [("/rule/attribute", "unknown_attribute")]),
        ({"attribute": ["x"], "is": 1}, [("/rule/attribute", "unknown_attribute")]),
        ({"attribute": "number", "contains": "1"}, [("/rule/contains", "unknown_operator")]),
        ({"attribute": "number"}, [("/rule", "invalid_rule")]),
        ({"attribute": "number", "at_least": 1, "at_most": 2}, [("/rule", "invalid_rule")]),
        ({"attribute": "number", "at_least": "1"}, [("/rule/at_least", "invalid_value")]),
        ({"attribute": "string", "is": "\0"}, [("/rule/is", "invalid_value")]),
        ({"attribute": "string", "is": ""}, [("/rule/is", "invalid_value")]),
        ({"attribute": "string", "in": []}, [("/rule/in", "invalid_value")]),
        ({"attribute": "string", "in": ["x"] * 201}, [("/rule/in", "invalid_value")]),
        ({"attribute": "date", "before": {"days_ago": -1}}, [("/rule/before", "invalid_value")]),
        ({"attribute": "date", "before": {"days_ago": True}}, [("/rule/before", "invalid_value")]),
        ({"attribute": "date", "before": {"days_ago": 1, "days_from_now": 1}}, [("/rule/before", "invalid_value")]),
        ({"attribute": "date", "before": "2026-02-30"}, [("/rule/before", "invalid_value")]),
        ({"field": "password", "is": "x"}, [("/rule/field", "invalid_value")]),
        ({"list": "x"}, [("/rule/list", "invalid_value")]),
        ({"list": ID, "status": "maybe"}, [("/rule/status", "invalid_value")]),
        ({"engagement": "opened", "within_days": 0}, [("/rule/within_days", "invalid_value")]),
        ({"engagement": "loved"}, [("/rule/engagement", "invalid_value")]),
        ({"segment": 5}, [("/rule/segment", "invalid_value")]),
        (
            {"any": [{"list": 1}, {"all": [{"attribute": "x", "is": 1}, {"engagement": 1}]}]},
            [
                ("/rule/any/0/list", "invalid_value"),
                ("/rule/any/1/all/0/attribute", "unknown_attribute"),
                ("/rule/any/1/all/1/engagement", "invalid_value"),
            ],
        ),
    ],
)
def test_every_place_that_makes_no_sense_is_pointed_at(rule: Any, problems: list[tuple[str, str]]) -> None:
    assert problems_of(rule) == problems


def test_depth_and_number_of_rules_are_limited() -> None:
    rule: Any = {"list": ID}
    for _ in range(MAX_DEPTH - 1):
        rule = {"not": rule}
    assert read_rule(rule, TYPES)
    assert problems_of({"not": rule}) == [("/rule" + "/not" * MAX_DEPTH, "too_deep")]
    assert read_rule({"all": [{"list": ID}] * (MAX_RULES - 1)}, TYPES)
    assert problems_of({"all": [{"list": ID}] * 50_000}) == [(f"/rule/all/{MAX_RULES - 1}", "too_large")]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["all", "any", "not", "attribute", "field", "list", "segment", "is", "in", "exists"])
                | st.text(),
                inner,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        read_rule(document, TYPES)
    except InvalidRule as refused:
        assert refused.problems  # noqa: PT017  either way is right
        json.dumps(refused.problems)


def test_segments_are_put_in_the_places_of_their_names() -> None:
    inner, outer = uuid4(), uuid4()
    others = {inner: {"list": ID}, outer: {"any": [{"not": {"segment": str(inner)}}]}}
    rule = {"all": [{"segment": str(outer)}, {"engagement": "opened"}]}
    assert expanded(rule, others) == {"all": [{"any": [{"not": {"list": ID}}]}, {"engagement": "opened"}]}


def test_a_circle_of_segments_is_found() -> None:
    one, two = uuid4(), uuid4()
    others = {one: {"not": {"segment": str(two)}}, two: {"all": [{"segment": str(one)}]}}
    with pytest.raises(SegmentCycle):
        expanded({"segment": str(one)}, others)
    with pytest.raises(SegmentCycle):
        expanded({"segment": str(one)}, {one: {"list": ID}}, within=one)


def test_a_segment_that_is_gone_is_an_error() -> None:
    with pytest.raises(SegmentNotFound):
        expanded({"not": {"segment": str(uuid4())}}, {})


def test_segments_that_multiply_are_stopped_early() -> None:
    ids = [uuid4() for _ in range(5)]
    others: dict[UUID, Any] = {
        one: {"all": [{"segment": str(next_one)}] * 199} for one, next_one in itertools.pairwise(ids)
    }
    others[ids[-1]] = {"list": ID}
    with pytest.raises(RuleTooLarge):
        expanded({"segment": str(ids[0])}, others)


def test_segments_may_lead_to_each_other_only_so_far() -> None:
    ids = [uuid4() for _ in range(7)]
    others: dict[UUID, Any] = {one: {"segment": str(two)} for one, two in itertools.pairwise(ids)}
    others[ids[-1]] = {"list": ID}
    assert expanded({"segment": str(ids[2])}, others) == {"list": ID}
    with pytest.raises(RuleTooLarge):
        expanded({"segment": str(ids[0])}, others)
