"""Declared attributes, without servers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_campaigns.domain.attributes import (
    AttributeDeclaration,
    AttributeType,
    fitting,
    stored_value,
    value_of_text,
)
from posthorn_campaigns.domain.audience import language_tag
from posthorn_campaigns.domain.errors import AttributesDoNotFit
from posthorn_common.clock import SystemClock, new_id


def declared(key: str, kind: str, *, required: bool = False) -> AttributeDeclaration:
    return AttributeDeclaration(new_id(), new_id(), key, AttributeType(kind), required, "", SystemClock().now())


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("string", "Lisbon", "Lisbon"),
        ("number", 12, 12),
        ("number", 1.5, 1.5),
        ("boolean", False, False),
        ("date", "2026-05-01", "2026-05-01"),
        ("datetime", "2026-05-01T12:30:00.9+02:00", "2026-05-01T10:30:00Z"),
        ("datetime", "0099-05-01T12:30:00Z", "0099-05-01T12:30:00Z"),
        ("list", ["a", "b", "a"], ["a", "b"]),
    ],
)
def test_a_value_that_fits_is_stored_in_one_form(kind: str, value: Any, stored: Any) -> None:
    assert stored_value(AttributeType(kind), value) == stored
    assert stored_value(AttributeType(kind), stored) == stored


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", 1), ("number", "1"), ("number", True), ("number", float("nan")), ("number", 2**63), ("boolean", 0),
        ("date", "2026-02-30"), ("date", "20260501"), ("date", "2026-05-01T00:00:00Z"), ("date", 5),
        ("datetime", "2026-05-01T12:30:00"), ("datetime", "0001-01-01T00:00:00+01:00"), ("datetime", 5),
        ("list", "a"), ("list", [1]), ("list", ["x"] * 101),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        stored_value(AttributeType(kind), value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", " 12 ", 12), ("number", "-1.5e3", -1500.0), ("boolean", "Yes", True), ("boolean", "0", False),
        ("list", "a; b;;a", ["a", "b"]), ("date", "2026-05-01", "2026-05-01"), ("string", " x ", "x"),
    ],
)  # fmt: skip
def test_the_text_of_a_cell_becomes_a_value(kind: str, text: str, value: Any) -> None:
    assert value_of_text(AttributeType(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [("number", "1,5"), ("number", "٣x"), ("number", "1e999"), ("number", "nan"), ("boolean", "maybe")],
)
def test_the_text_of_a_cell_that_does_not_fit_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        value_of_text(AttributeType(kind), text)


@given(st.sampled_from(AttributeType), st.text())
def test_any_text_is_a_value_or_refused(kind: AttributeType, text: str) -> None:
    try:
        value = value_of_text(kind, text)
    except ValueError as error:
        assert str(error).startswith("must be ")  # noqa: PT017  either way is right
    else:
        assert stored_value(kind, value) == value


def test_all_misfits_are_told_at_once() -> None:
    known = {"visits": declared("visits", "number", required=True), "city": declared("city", "string")}
    with pytest.raises(AttributesDoNotFit) as told:
        fitting({"city": 5, "free": [1]}, known, is_new=True)
    assert [(name, code) for name, code, _ in told.value.misfits] == [
        ("visits", "attribute_required"),
        ("city", "attribute_type"),
    ]


def test_what_is_required_may_be_left_alone_but_not_removed() -> None:
    known = {"visits": declared("visits", "number", required=True)}
    assert fitting({"free": 1}, known) == {"free": 1}
    with pytest.raises(AttributesDoNotFit):
        fitting({"visits": None}, known)


@pytest.mark.parametrize(
    ("text", "tag"), [("PT-br", "pt-BR"), ("zh_hans_CN", "zh-Hans-CN"), ("de", "de"), ("es-419", "es-419")]
)
def test_a_language_tag_is_spelt_as_usual(text: str, tag: str) -> None:
    assert language_tag(text) == tag


@pytest.mark.parametrize("text", ["", "e", "german", "de-", "de DE", "de-DE-\n"])
def test_what_is_no_language_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="language"):
        language_tag(text)
