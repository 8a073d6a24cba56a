"""The golden schemas and examples are what other teams read: they must stay true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from posthorn_contracts.registry import EVENTS
from posthorn_contracts.schemas import FOLDER, outdated

pytestmark = pytest.mark.contract
EXAMPLES = Path(__file__).parents[2] / "examples"


def _example(event_type: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f"{event_type}.json").read_text())
    return document


def test_the_golden_schemas_are_those_of_the_models() -> None:
    assert outdated() == []


def test_a_changed_schema_is_noticed(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    changed = tmp_path / "mailer.send.planned.v1.json"
    changed.write_text(changed.read_text().replace("audience", "recipients"))
    assert outdated(tmp_path) == ["mailer.send.planned.v1.json"]


def test_every_event_has_one_example() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("event_type", sorted(EVENTS))
class TestEvent:
    def test_its_type_is_service_aggregate_past_tense_version(self, event_type: str) -> None:
        assert re.fullmatch(r"(auth|campaigns|mailer|analytics|audit)\.[a-z-]+\.[a-z-]+\.v[1-9]", event_type)

    def test_its_example_is_valid_by_schema_and_by_model(self, event_type: str) -> None:
        schema = json.loads((FOLDER / f"{event_type}.json").read_text())
        jsonschema.validate(_example(event_type), schema)
        event = EVENTS[event_type].model_validate(_example(event_type))
        assert EVENTS[event_type].model_validate_json(event.model_dump_json()) == event

    def test_fields_that_a_newer_producer_adds_are_ignored(self, event_type: str) -> None:
        example = _example(event_type)
        newer = {**example, "added": 1, "data": {**example["data"], "added": 1}}
        assert EVENTS[event_type].model_validate(newer) == EVENTS[event_type].model_validate(example)

    def test_it_holds_no_address(self, event_type: str) -> None:
        assert "email" not in (FOLDER / f"{event_type}.json").read_text().lower()
        assert "@" not in (EXAMPLES / f"{event_type}.json").read_text()
