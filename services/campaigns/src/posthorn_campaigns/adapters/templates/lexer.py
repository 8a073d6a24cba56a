"""Takes template code out of a source, so that what is left can be handled as HTML or text, and puts it back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

OPEN, CLOSE = "\ue000", "\ue001"
"""A piece of template code number 7 is `OPEN 7 CLOSE` in the protected source."""

MARKER = re.compile(f"{OPEN}(\\d+){CLOSE}")

_START = re.compile(r"\{\{|\{%|\{#|[" + OPEN + CLOSE + "]")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_INSIDE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}%]""", re.DOTALL)
_KEYWORD = re.compile(r"\{%[-+]?\s*(\w+)")


class Kind(Enum):
    """What a piece of template code does."""

    EXPRESSION = "expression"
    """Prints something."""
    STATEMENT = "statement"
    """Decides what is printed."""
    COMMENT = "comment"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of template code, with its braces."""

    kind: Kind
    text: str

    @property
    def keyword(self) -> str:
        """The first word of a statement: `if`, `endif`."""
        found = _KEYWORD.match(self.text)
        return found[1] if found else ""


@dataclass(slots=True)
class Protected:
    """A source whose template code is replaced by markers."""

    text: str
    codes: list[Code]

    def restored(self, text: str | None = None) -> str:
        """Return `text` (by default the protected text) with the code back in place."""
        return MARKER.sub(lambda marker: self.codes[int(marker[1])].text, self.text if text is None else text)

    def add(self, code: str) -> str:
        """Return the marker for a new expression."""
        self.codes.append(Code(Kind.EXPRESSION, code))
        return f"{OPEN}{len(self.codes) - 1}{CLOSE}"


def protect(source: str) -> Protected:
    """Replace the template code of a source that parses by markers. Comments are left out."""
    parts: list[str] = []
    codes: list[Code] = []
    position = 0
    while found := _START.search(source, position):
        kind, end = _piece(source, found)
        parts.append(source[position : found.start()])
        if kind is not Kind.COMMENT:
            parts.append(f"{OPEN}{len(codes)}{CLOSE}")
            codes.append(Code(kind, source[found.start() : end]))
        position = end
    parts.append(source[position:])
    return Protected("".join(parts), codes)


def _piece(source: str, found: re.Match[str]) -> tuple[Kind, int]:
    """Return kind and end of the piece that starts at `found`."""
    start = found.start()
    if found[0] in {OPEN, CLOSE}:
        return Kind.EXPRESSION, found.end()
    if found[0] == "{#":
        end = source.find("#}", found.end())
        return Kind.COMMENT, len(source) if end < 0 else end + 2
    if raw := _RAW.match(source, start):
        end_raw = _END_RAW.search(source, raw.end())
        return Kind.EXPRESSION, end_raw.end() if end_raw else len(source)
    kind = Kind.EXPRESSION if found[0] == "{{" else Kind.STATEMENT
    return kind, _end_of_code(source, found.end(), "}}" if kind is Kind.EXPRESSION else "%}")


def _end_of_code(source: str, position: int, closing: str) -> int:
    """Return where the code ends: at `closing`, outside strings and brackets."""
    depth = 0
    while found := _INSIDE.search(source, position):
        character = found[0]
        if depth <= 0 and source.startswith(closing, found.start()):
            return found.start() + 2
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        position = found.end()
    return len(source)
