"""Finds tags, attributes, comments and text in HTML without changing a byte of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr".split()  # noqa: SIM905  reads better
)
_RAW_TEXT = frozenset({"style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
# Each alternative eats as far as it can when its end is missing: nothing is looked at twice.
_MARKUP = re.compile(r"<!--.*?(?:-->|\Z)|<[!?][^>]*(?:>|\Z)|<(/?)([a-zA-Z][^\s/>\ue000]*)", re.DOTALL)
_NEXT = re.compile(r"[^\s/]")
_ATTRIBUTE = re.compile(r"""([^\s/>=]++)(?:\s*+=\s*+("[^"]*"|'[^']*'|[^\s>"'][^\s>]*+))?""")


class Part(Enum):
    """What a stretch of HTML is."""

    TEXT = "text"
    START = "start"
    END = "end"
    COMMENT = "comment"
    """Comments, doctypes and the like."""
    RAW = "raw"
    """What stands between `<style>` and `</style>`, or in other elements that hold no tags."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute; `start` and `end` span the value with its quotes."""

    name: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of HTML from `start` to `end`; `name` is the element's, in lower case."""

    part: Part
    start: int
    end: int
    name: str = ""
    attributes: tuple[Attribute, ...] = ()

    def attribute(self, name: str) -> Attribute | None:
        """Return the attribute with a value that browsers would take."""
        return next((item for item in self.attributes if item.name == name), None)


def stretches(html: str) -> Iterator[Stretch]:
    """Yield all of `html`, in order."""
    position = 0
    while found := _MARKUP.search(html, position):
        if found.start() > position:
            yield Stretch(Part.TEXT, position, found.start())
        if found[2] is None:
            yield Stretch(Part.COMMENT, found.start(), found.end())
            position = found.end()
            continue
        tag = _tag(html, found)
        yield tag
        position = tag.end
        if tag.part is Part.START and tag.name in _RAW_TEXT:
            end = re.compile(f"</{tag.name}", re.IGNORECASE).search(html, position)
            stop = end.start() if end else len(html)
            if stop > position:
                yield Stretch(Part.RAW, position, stop, tag.name)
            position = stop
    if position < len(html):
        yield Stretch(Part.TEXT, position, len(html))


def _tag(html: str, found: re.Match[str]) -> Stretch:
    part = Part.END if found[1] else Part.START
    name = found[2].lower()
    attributes: list[Attribute] = []
    position = found.end()
    while following := _NEXT.search(html, position):
        position = following.start()
        if following[0] == ">":
            return Stretch(part, found.start(), position + 1, name, tuple(attributes))
        item = _ATTRIBUTE.match(html, position)
        if item is None:
            position += 1  # a stray character, as browsers skip it
            continue
        if item[2] is not None:
            value = item[2][1:-1] if item[2][0] in "\"'" else item[2]
            attributes.append(Attribute(item[1].lower(), value, item.start(2), item.end(2)))
        position = item.end()
    return Stretch(part, found.start(), len(html), name, tuple(attributes))
