"""Which events the services listen to, read from their code: contracts know no service."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from posthorn_contracts.registry import EVENTS

pytestmark = pytest.mark.contract

SERVICES = Path(__file__).parents[4] / "services"


def _subscribed() -> set[str]:
    """Return the names of the event classes in all calls of `subscribe` and `subscribe_broadcast`."""
    return {
        call.args[0].id
        for file in SERVICES.glob("*/src/*/entrypoints/consumers.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"subscribe", "subscribe_broadcast"}
        and call.args
        and isinstance(call.args[0], ast.Name)
    }


def test_exactly_the_events_that_no_service_listens_to_are_for_others() -> None:
    subscribed = _subscribed()
    assert len(list(SERVICES.glob("*/src/*/entrypoints/consumers.py"))) >= 4
    unheard = {event.event_type for event in EVENTS.values() if event.__name__ not in subscribed}
    assert {event_type for event_type, event in EVENTS.items() if event.is_for_others} == unheard
