"""Logs are JSON lines without secrets and addresses."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest
import structlog

from posthorn_common.logging import configure_logging

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Generator[Lines]:
    """Configure logging; returns what was written since, of which there must be something."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    configure_logging(service="sample", level="INFO")

    def written() -> list[dict[str, Any]]:
        assert output.getvalue()
        return [json.loads(line) for line in output.getvalue().splitlines()]

    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)  # not the defaults: see pytest_configure in posthorn_local


def test_an_event_is_one_json_line_with_the_bound_ids(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger("x").info("batch_sent", size=3)
    (line,) = lines()
    assert (line["event"], line["size"], line["request_id"], line["service"]) == ("batch_sent", 3, "r-1", "sample")
    assert line["level"] == "info"
    assert "timestamp" in line


def test_secrets_and_addresses_never_get_out(lines: Lines) -> None:
    secret = "hunter2-hunter2"
    structlog.get_logger("x").warning(
        "login_failed",
        password=secret,
        email="ada@example.com",
        detail="to ada@example.com",
        nested={"a": ["b@c.example"]},
    )
    logging.getLogger("library").error("550 no such user ada@example.com")
    text = json.dumps(lines())
    assert secret not in text
    assert "@" not in text.replace("[address]", "")


def test_a_traceback_shows_no_local_variables(lines: Lines) -> None:
    def fail(password: str) -> None:
        raise ValueError("wrong")

    try:
        fail("hunter2-hunter2")
    except ValueError:
        structlog.get_logger("x").exception("request_served")
    (line,) = lines()
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "locals" not in json.dumps(line)
