"""Replaces a message's links by calls of `posthorn_link`, and remembers where they led."""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

from posthorn_campaigns.adapters.templates.lexer import CLOSE, OPEN, protect
from posthorn_campaigns.adapters.templates.markup import Part, stretches
from posthorn_campaigns.domain.templates import Link

MAX_LINKS = 1000
MAX_URL_CHARACTERS = 4000
_IN_TEXT = re.compile(r"https?://[^\s<>\"'`{}|\\^]+", re.IGNORECASE)
_AFTER_SENTENCE = ".,;:!?)]*_"


class LinkTable:
    """The links of one campaign; the same address has the same number everywhere."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def links(self) -> tuple[Link, ...]:
        """All links by number."""
        return tuple(Link(number, url) for url, number in self._numbers.items())

    def call(self, url: str) -> str | None:
        """Return the template code that prints the tracked link, or None for an address that is left as it is."""
        if url not in self._numbers:
            if not _can_be_tracked(url) or len(self._numbers) >= MAX_LINKS:
                return None
            self._numbers[url] = len(self._numbers)
        # Safe: addresses that we sign ourselves hold nothing to escape.
        return f"{{{{ posthorn_link({self._numbers[url]})|safe }}}}"


def track_html(source: str, table: LinkTable) -> str:
    """Return the HTML with its static web links tracked. Addresses with template code are personal and stay."""
    protected = protect(source)
    parts: list[str] = []
    position = 0
    for stretch in stretches(protected.text):
        href = stretch.attribute("href") if stretch.name in {"a", "area"} and stretch.part is Part.START else None
        call = table.call(html.unescape(href.value).strip()) if href else None
        if href and call:
            parts += [protected.text[position : href.start], f'"{protected.add(call)}"']
            position = href.end
    parts.append(protected.text[position:])
    return protected.restored("".join(parts))


def track_text(source: str, table: LinkTable) -> str:
    """Return the plain text with its static web links tracked."""
    protected = protect(source)

    def replaced(found: re.Match[str]) -> str:
        url = found[0].rstrip(_AFTER_SENTENCE)
        if OPEN in found[0] or CLOSE in found[0]:
            return found[0]
        call = table.call(url)
        return found[0] if call is None else protected.add(call) + found[0][len(url) :]

    return protected.restored(_IN_TEXT.sub(replaced, protected.text))


def _can_be_tracked(url: str) -> bool:
    if len(url) > MAX_URL_CHARACTERS or OPEN in url or re.search(r"[\x00-\x20\x7f]", url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
