"""Makes the plain-text part of a message from its HTML template, as a template itself.

Libraries that turn HTML into text work on documents, and move or drop template code that stands between table rows.
Here every statement stays where it is in the text, so that both parts always say the same.
"""

from __future__ import annotations

import html
import re

from posthorn_campaigns.adapters.templates.lexer import MARKER, Code, Kind, Protected, protect
from posthorn_campaigns.adapters.templates.markup import Part, Stretch, stretches

_PARAGRAPHS = frozenset(
    "p h1 h2 h3 h4 h5 h6 table ul ol dl blockquote pre header footer section article figure form".split()  # noqa: SIM905
)
_LINES = frozenset("div tr li dt dd center address main nav aside caption option body".split())  # noqa: SIM905
_CELLS = frozenset({"td", "th"})
_INVISIBLE = re.compile("[\u00ad\u034f\u200b\u2060\ufeff]")
_BLANKS = re.compile(r"\s+")


def plain_text(source: str) -> str:
    """Return a plain-text template that says what the HTML template says."""
    protected = protect(source)
    writer = _Writer(protected)
    for item in stretches(protected.text):
        _write(writer, protected, item)
    return writer.text()


def _write(writer: _Writer, protected: Protected, item: Stretch) -> None:
    content = protected.text[item.start : item.end]
    if item.part is Part.TEXT or (item.part is Part.RAW and item.name == "textarea"):
        writer.write(content)
        return
    if item.part is Part.END and item.name == "a":
        writer.end_link()
    if item.part is not Part.END:
        writer.statements(content, besides=_href(item))
    if item.name in _PARAGRAPHS:
        writer.new_line(2)
    elif item.name in _LINES:
        writer.new_line(1)
    elif item.name in _CELLS:
        writer.space()
    if item.part is Part.START:
        _start(writer, item)


def _start(writer: _Writer, item: Stretch) -> None:
    if item.name == "br":
        writer.line_break()
    elif item.name == "li":
        writer.write("- ")
    elif item.name == "hr":
        writer.new_line(1)
        writer.write("----")
        writer.new_line(1)
    elif item.name == "img" and (alt := item.attribute("alt")):
        writer.write(alt.value)
    elif item.name == "a":
        writer.start_link(_href(item))


def _href(item: Stretch) -> str:
    """Return where a link leads, if that is worth reading."""
    href = item.attribute("href") if item.name == "a" else None
    value = href.value.strip() if href else ""
    return value if MARKER.search(value) or value.lower().startswith(("http://", "https://")) else ""


class _Writer:
    """Lines up text and template code. White space collapses as in a browser, across statements too."""

    def __init__(self, protected: Protected) -> None:
        self._codes = protected.codes
        self._parts: list[str | Code] = []
        self._newlines = 2  # nothing goes before the first line
        self._space = False
        self._href = ""
        self._link_starts = 0

    def write(self, content: str) -> None:
        """Add text with its template code."""
        position = 0
        for marker in MARKER.finditer(content):
            self._literal(content[position : marker.start()])
            self._code(self._codes[int(marker[1])])
            position = marker.end()
        self._literal(content[position:])

    def statements(self, content: str, *, besides: str) -> None:
        """Add the statements of something that is not shown itself: others may depend on them."""
        hidden = content.replace(besides, "", 1) if besides else content
        for marker in MARKER.finditer(hidden):
            code = self._codes[int(marker[1])]
            if code.kind is Kind.STATEMENT:
                self._parts.append(code)

    def new_line(self, lines: int) -> None:
        """Begin a new line, with an empty one before it if `lines` is 2."""
        self._space = False
        if self._newlines < lines:
            self._parts.append("\n" * (lines - self._newlines))
            self._newlines = lines

    def line_break(self) -> None:
        """Begin another line."""
        self.new_line(min(self._newlines + 1, 2))

    def space(self) -> None:
        """Set off what comes next."""
        self._space = self._newlines == 0

    def start_link(self, href: str) -> None:
        """Remember where the link leads."""
        self._href = href
        self._link_starts = len(self._parts)

    def end_link(self) -> None:
        """Say where the link leads, unless its text does."""
        if not self._href:
            return
        said = "".join(part for part in self._parts[self._link_starts :] if isinstance(part, str))
        if html.unescape(self._href) != said.strip():
            self.write(f" ({self._href})" if said.strip() else self._href)
        self._href = ""

    def text(self) -> str:
        """Return the template."""
        # A brace that was text in the HTML must not become code here.
        texts = (part.replace("{", '{{ "{" }}') if isinstance(part, str) else part.text for part in self._parts)
        return "".join(texts).rstrip() + "\n"

    def _literal(self, text: str) -> None:
        text = _BLANKS.sub(" ", _INVISIBLE.sub("", html.unescape(text)))
        if text.startswith(" "):
            self.space()
        if words := text.strip():
            self._flush()
            self._parts.append(words)
            self._space = text.endswith(" ")

    def _code(self, code: Code) -> None:
        if code.kind is Kind.EXPRESSION:
            self._flush()
        elif self._space:
            self._parts.append(" ")
            self._space = False
        self._parts.append(code)

    def _flush(self) -> None:
        if self._space:
            self._parts.append(" ")
        self._space = False
        self._newlines = 0
