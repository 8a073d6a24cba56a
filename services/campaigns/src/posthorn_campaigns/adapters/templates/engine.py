"""MiniJinja behind the port TemplateEngine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from posthorn_campaigns.adapters.templates.css import inline_css
from posthorn_campaigns.adapters.templates.links import LinkTable, track_html, track_text
from posthorn_campaigns.adapters.templates.plain_text import plain_text
from posthorn_campaigns.domain.errors import TemplateInvalid
from posthorn_campaigns.domain.templates import (
    UNSUBSCRIBE_URL,
    MessageContent,
    RenderedMessage,
    TemplateSource,
    merge_fields_of,
    sample_contact,
    warnings_about,
)
from posthorn_common.http.fields import is_single_line
from posthorn_common.templating import Template, TemplateProblem

MAX_SUBJECT_CHARACTERS = 998  # RFC 5322 §2.1.1
_PROVIDED = frozenset({"posthorn_unsubscribe_url", "posthorn_open_pixel", "posthorn_link"})
_BODY_END = re.compile(r"</body", re.IGNORECASE)

# Authors write unsubscribe_url. It is ours, so that there is nothing in it to escape.
_HTML_PREAMBLE = "{% set unsubscribe_url = posthorn_unsubscribe_url|safe %}"
_TEXT_PREAMBLE = "{% set unsubscribe_url = posthorn_unsubscribe_url %}"
_FOOTER = (
    '<p style="font-size:12px;color:#666666;text-align:center">'
    '<a href="{{ unsubscribe_url }}" style="color:#666666">Unsubscribe</a></p>\n'
)
_TEXT_FOOTER = "\n\nUnsubscribe: {{ unsubscribe_url }}\n"
_PIXEL = '<img src="{{ posthorn_open_pixel|safe }}" width="1" height="1" alt="" style="border:0;width:1px;height:1px">'
# Whatever a contact's name holds, the subject stays one line.
_SUBJECT = '{{% set posthorn_subject %}}{}{{% endset %}}{{{{ posthorn_subject|split|join(" ") }}}}'


class MiniJinjaTemplateEngine:
    """See the port TemplateEngine. Its methods compute only; some take a noticeable part of a second."""

    def check(self, source: TemplateSource) -> tuple[str, ...]:
        """Return the merge fields of a template that parses, renders and can be sent. Raises TemplateInvalid."""
        parts = {"subject": source.subject, "html": source.html}
        if source.text is not None:
            parts["text"] = source.text
        fields: set[str] = set()
        for part, text in parts.items():
            template = _parsed(part, text)
            fields |= template.fields
            rendered = _rendered_for_a_sample(part, template)
            if part == "subject":
                _check_subject(text, rendered)
        self.prepare(source, track_opens=True, track_clicks=True)
        return tuple(sorted(fields - {UNSUBSCRIBE_URL}))

    def prepare(self, source: TemplateSource, *, track_opens: bool, track_clicks: bool) -> MessageContent:
        """Make a template ready for sending: CSS inlined, links in a table, text part, unsubscribe link, pixel.

        Raises TemplateInvalid.
        """
        table = LinkTable()
        html = source.html
        if UNSUBSCRIBE_URL not in _parsed("html", html).fields:
            html = _before_body_end(html, _FOOTER)
        if track_clicks:
            html = track_html(html, table)
        text = _text_part(source, html, table if track_clicks else None)
        html = _inlined(html)
        if track_opens:
            html = _before_body_end(html, _PIXEL)
        content = MessageContent(
            subject=_SUBJECT.format(source.subject),
            html=_HTML_PREAMBLE + html,
            text=_TEXT_PREAMBLE + text,
            links=table.links,
            fields=(),
        )
        return _with_fields(content)

    def render(
        self, content: MessageContent, contact: Mapping[str, Any], *, unsubscribe_url: str, campaign_name: str
    ) -> RenderedMessage:
        """Render for a contact, as the mailer does. Raises TemplateInvalid."""
        context = {
            "contact": merge_fields_of(contact, content.fields),
            "campaign": {"name": campaign_name},
            UNSUBSCRIBE_URL: unsubscribe_url,
            "posthorn_unsubscribe_url": unsubscribe_url,
        }
        return RenderedMessage(
            subject=_rendered("subject", _parsed("subject", content.subject), context),
            html=_rendered("html", _parsed("html", content.html), context),
            text=_rendered("text", _parsed("text", content.text), context),
            warnings=warnings_about(content.fields, contact),
        )


def _parsed(part: str, source: str) -> Template:
    if "\0" in source:
        raise TemplateInvalid(
            "template_invalid", part, "contains a NUL character", source[: source.index("\0")].count("\n") + 1
        )
    try:
        return Template(source, html=part == "html", functions={"posthorn_link": _sample_link})
    except TemplateProblem as problem:
        raise TemplateInvalid(problem.code, part, problem.message, problem.line) from problem


def _sample_link(number: int) -> str:
    return f"https://example.com/{number}"


def _rendered(part: str, template: Template, context: Mapping[str, Any]) -> str:
    try:
        return template.render(context)
    except TemplateProblem as problem:
        raise TemplateInvalid(problem.code, part, problem.message, problem.line) from problem


def _rendered_for_a_sample(part: str, template: Template) -> str:
    """Render for made-up contacts until it works for one: what attributes hold is known only to the author."""
    failure: TemplateInvalid | None = None
    for value in (None, "text", 1):
        try:
            return _rendered(part, template, _sample_context(template, value))
        except TemplateInvalid as error:
            failure = failure or error
    raise failure or AssertionError("there are samples")


def _sample_context(template: Template, value: str | int | None) -> dict[str, Any]:
    names = {field.split(".")[2] for field in template.fields if field.startswith("contact.attributes.")}
    attributes = {} if value is None else dict.fromkeys(names, value)
    return {
        "contact": sample_contact(attributes),
        "campaign": {"name": "Sample"},
        UNSUBSCRIBE_URL: "https://example.com/unsubscribe",
        "posthorn_unsubscribe_url": "https://example.com/unsubscribe",
        "posthorn_open_pixel": "https://example.com/pixel",
    }


def _check_subject(source: str, rendered: str) -> None:
    if not is_single_line(source) or not is_single_line(rendered):
        raise TemplateInvalid("subject_not_one_line", "subject", "must be a single line", None)
    if len(rendered) > MAX_SUBJECT_CHARACTERS:
        raise TemplateInvalid(
            "subject_too_long", "subject", f"is longer than {MAX_SUBJECT_CHARACTERS} characters", None
        )


def _text_part(source: TemplateSource, html: str, table: LinkTable | None) -> str:
    if source.text is None or not source.text.strip():
        text = plain_text(html)
        try:
            _rendered_for_a_sample("text", _parsed("text", text))
        except TemplateInvalid as error:
            message = "cannot be made from this HTML; write one"
            raise TemplateInvalid("text_part_needed", "text", message, None) from error
        return text
    text = source.text
    if UNSUBSCRIBE_URL not in _parsed("text", text).fields:
        text = text.rstrip() + _TEXT_FOOTER
    return text if table is None else track_text(text, table)


def _inlined(html: str) -> str:
    inlined = inline_css(html)
    try:
        Template(inlined, html=True)
    except TemplateProblem:
        return html  # for instance too large; style sheets work without being inlined
    return inlined


def _before_body_end(html: str, addition: str) -> str:
    ends = list(_BODY_END.finditer(html))
    position = ends[-1].start() if ends else len(html)
    return html[:position] + addition + html[position:]


def _with_fields(content: MessageContent) -> MessageContent:
    fields: set[str] = set()
    for part in ("subject", "html", "text"):
        fields |= _parsed(part, getattr(content, part)).fields
    return MessageContent(
        subject=content.subject,
        html=content.html,
        text=content.text,
        links=content.links,
        fields=tuple(sorted(fields - _PROVIDED)),
    )
