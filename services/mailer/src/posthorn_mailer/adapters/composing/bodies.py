"""One body of a campaign's messages: its template, and how to make quoted-printable of it for each recipient.

Most of a newsletter is the same for everybody. So its literals, the text between the template's tags, are encoded once;
what is rendered for each recipient has their numbers in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from posthorn_common.templating import MAX_OUTPUT_BYTES, Template, TemplateProblem
from posthorn_mailer.adapters.quoted_printable import MarkedText, NotSpliced, seam_of

_SHORTEST_LITERAL = 24
_TAG = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
# What is within these can be printed later, having been changed: it must not be numbers then.
_CAPTURED = re.compile(r"\{%[-+]?\s*end(?:set|filter|macro|call|block|raw)\b|\brecursive\b")


class Body:
    """A template whose output is encoded."""

    def __init__(self, source: str, *, html: bool, functions: Mapping[str, Callable[..., Any]], mark: str) -> None:
        """`mark` stands in the output for something else; see MarkedText. Raises TemplateProblem."""
        self._whole = Template(source, html=html, functions=functions)
        seamed, literals = _without_literals(source, seam_of(mark))
        self._seamed = Template(seamed, html=html, functions=functions)
        self._text = MarkedText(mark, literals)

    def encoded(self, context: Mapping[str, Any], meant: bytes) -> bytes:
        """Return the body for a context, with `meant` where the mark is. Raises TemplateProblem."""
        try:
            return self._text.splice(self._seamed.render(context), meant, most_bytes=MAX_OUTPUT_BYTES)
        except (TemplateProblem, NotSpliced):
            # The whole template knows in which line the problem is.
            return self._text.encode(self._whole.render(context), meant)


def _without_literals(source: str, seam: str) -> tuple[str, list[str]]:
    """Return a template with numbers between seams in place of its long literals, and the literals."""
    if _CAPTURED.search(source):
        return source, []
    literals: list[str] = []
    pieces = _TAG.split(source)
    for place in range(0, len(pieces), 2):
        piece = pieces[place]
        # White space at its ends goes with it, unless a tag beside it takes that away.
        start = len(piece) - len(piece.lstrip()) if place and pieces[place - 1][-3] in "-+" else 0
        end = len(piece.rstrip()) if place + 1 < len(pieces) and pieces[place + 1][2] in "-+" else len(piece)
        if end - start >= _SHORTEST_LITERAL:
            pieces[place] = f"{piece[:start]}{seam}{len(literals)}{seam}{piece[end:]}"
            literals.append(piece[start:end])
    return "".join(pieces), literals
