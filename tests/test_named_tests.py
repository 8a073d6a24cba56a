"""What docs/engine.md and docs/security.md name as proof exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_ENGINE = (_ROOT / "docs" / "engine.md").read_text()
_SECURITY = (_ROOT / "docs" / "security.md").read_text()
_TEST = r"`([\w/.-]+\.py)::(\w+)`"
_NAMED = sorted(set(re.findall(_TEST, _ENGINE + _SECURITY)))


@pytest.mark.parametrize(("path", "name"), _NAMED)
def test_a_test_that_the_docs_name_exists(path: str, name: str) -> None:
    tree = ast.parse((_ROOT / path).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| \d\. .*$", _ENGINE, re.MULTILINE)
    assert "".join(row[2] for row in rows) == "12345678"
    assert all(re.search(r"\.py::test_\w+`", row) for row in rows)


def test_every_line_about_security_names_a_test() -> None:
    rows = [row for row in re.findall(r"^\| .*$", _SECURITY, re.MULTILINE) if not row.startswith("| what holds |")]
    assert len(rows) > 40
    assert [row for row in rows if not re.search(_TEST, row)] == []
