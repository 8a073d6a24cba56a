"""Writes the rules of style sheets into the elements they apply to: many mail programs ignore `<style>`.

The inliner parses and writes the document anew. Template code is hidden from it where HTML allows: as a comment between
tags, as a name or value within them. Where that could change what the template says the source stays as it is.
"""

from __future__ import annotations

import re

import css_inline

from posthorn_campaigns.adapters.templates.lexer import MARKER, OPEN, Code, Kind, Protected, protect
from posthorn_campaigns.adapters.templates.markup import VOID, Part, Stretch, stretches
from posthorn_common.templating import MAX_SOURCE_BYTES

# Styles stay in place for what cannot be inlined: media queries, :hover.
_INLINER = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)
# Limits to what a style sheet may cost. Each is several times what a large newsletter needs, and about a second's work.
_MAX_MATCHES = 3_000_000
"""Selectors times elements."""
_MAX_WRITTEN = 32 * 1024 * 1024
"""Characters, if each element got all there is."""
_MAX_MERGES = 1_000_000_000
"""Comparisons of properties, if all rules applied to all elements."""
_MAX_REOPENED = 1_000_000
"""Formatting elements that parsers open anew."""
# `:has()` searches around each element, so that its cost grows with the square of the document. Names may be escaped.
_SEARCHING = re.compile(r":has\(|:[\w-]*\\[\w\\\s-]*\(", re.IGNORECASE)
_PIECE = re.compile(r"([^{};:]*+)([{};:]|\Z)")
_MAY_STAY_OPEN = frozenset(
    "p li dt dd tr td th tbody thead tfoot option optgroup colgroup html body head".split()  # noqa: SIM905
)
_FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())  # noqa: SIM905
_MAX_DEPTH = 200
_BLOCK = ""
_BLOCKS = frozenset({"if", "for", "with", "filter", "macro", "call", "block", "autoescape"})


def inline_css(source: str) -> str:
    """Return the HTML with its style sheets inlined, or as it is if that cannot be done without harm."""
    protected = protect(source)
    found = list(stretches(protected.text))
    if not _can_be_inlined(protected, found):
        return source
    prefix = _unused_prefix(protected.text)
    try:
        inlined = _INLINER.inline(_hidden(protected, found, prefix))
    except css_inline.InlineError:
        return source  # the author's CSS is not for us to judge
    if len(inlined) > MAX_SOURCE_BYTES:
        return source
    return _restored(protected, found, inlined, prefix) or source


def _can_be_inlined(protected: Protected, found: list[Stretch]) -> bool:
    styles = [protected.text[item.start : item.end] for item in found if item.part is Part.RAW and item.name == "style"]
    elements = sum(item.part is Part.START for item in found)
    conditional = any(
        protected.codes[int(marker[1])].kind is Kind.STATEMENT for style in styles for marker in MARKER.finditer(style)
    )
    computed_tag = re.search(f"</?{OPEN}", protected.text)
    return (
        _is_affordable("".join(styles), elements)
        and not conditional
        and computed_tag is None
        and _blocks_hold_whole_elements(protected, found)
    )


def _is_affordable(css: str, elements: int) -> bool:
    """Whether there are rules, and applying them takes reasonable time and memory, whatever they are."""
    if "{" not in css or _SEARCHING.search(css):
        return False
    selectors = css.count("{") + css.count(",")
    declarations = css.count(":")
    properties = len({piece.strip() for piece, end in _PIECE.findall(css) if end == ":"})
    return (
        selectors * elements <= _MAX_MATCHES
        and len(css) * elements <= _MAX_WRITTEN
        and declarations * properties * elements <= _MAX_MERGES
    )


def _blocks_hold_whole_elements(protected: Protected, found: list[Stretch]) -> bool:
    """Whether elements are nested well, and none begins inside a block of the template and ends outside of it."""
    nesting = _Nesting()
    for item in found:
        if item.part is Part.START and item.name not in VOID:
            fits = nesting.open(item.name)
        elif item.part is Part.END:
            fits = nesting.close(item.name)
        elif item.part in {Part.TEXT, Part.COMMENT}:
            markers = MARKER.finditer(protected.text, item.start, item.end)
            fits = all(nesting.code(protected.codes[int(marker[1])]) for marker in markers)
        else:
            continue
        if not fits:
            return False
    return nesting.close_all()


class _Nesting:
    """The elements and blocks that are open. Methods return False when the nesting is not simple."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._work = 0

    def open(self, name: str) -> bool:
        # Parsers open formatting elements anew in each paragraph: a small source can become a huge document.
        self._work += sum(other in _FORMATTING for other in self._open)
        self._open.append(name)
        return len(self._open) <= _MAX_DEPTH and self._work <= _MAX_REOPENED

    def close(self, name: str) -> bool:
        while self._open and self._open[-1] != name and self._open[-1] in _MAY_STAY_OPEN:
            self._open.pop()
        return bool(self._open) and self._open.pop() == name

    def code(self, code: Code) -> bool:
        word = code.keyword
        if code.kind is not Kind.STATEMENT:
            return True
        is_middle = word in {"else", "elif"}
        if (is_middle or word.startswith("end")) and not self.close(_BLOCK):
            return False
        if is_middle or word in _BLOCKS or (word == "set" and "=" not in code.text):
            self._open.append(_BLOCK)
        return True

    def close_all(self) -> bool:
        return all(name in _MAY_STAY_OPEN for name in self._open)


def _hidden(protected: Protected, found: list[Stretch], prefix: str) -> str:
    parts: list[str] = []
    for item in found:
        form = f"<!--{prefix}\\1z-->" if item.part is Part.TEXT else f"{prefix}\\1z"
        parts.append(MARKER.sub(form, protected.text[item.start : item.end]))
    return "".join(parts)


def _restored(protected: Protected, found: list[Stretch], inlined: str, prefix: str) -> str | None:
    """Return the document with its template code, or None unless all of it is there, in order, once."""
    in_styles = {
        marker[1]
        for item in found
        if item.part is Part.RAW and item.name == "style"
        for marker in MARKER.finditer(protected.text, item.start, item.end)
    }
    pattern = re.compile(f'<!--{prefix}(\\d+)z-->|{prefix}(\\d+)z(?:="")?')
    before = [marker[1] for marker in MARKER.finditer(protected.text)]
    after = [marker[1] or marker[2] for marker in pattern.finditer(inlined)]
    # A value in a style sheet is printed wherever its rule applies.
    if [number for number in after if number not in in_styles] != [n for n in before if n not in in_styles]:
        return None
    return pattern.sub(lambda marker: protected.codes[int(marker[1] or marker[2])].text, inlined)


def _unused_prefix(text: str) -> str:
    prefix = "phcode"
    lowered = text.lower()
    while prefix in lowered:
        prefix += "x"
    return prefix
