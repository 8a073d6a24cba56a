"""Templates: checked, rendered, and made ready for sending without changing what they say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from posthorn_campaigns.adapters.templates import MiniJinjaTemplateEngine
from posthorn_campaigns.adapters.templates.lexer import protect
from posthorn_campaigns.adapters.templates.plain_text import plain_text
from posthorn_campaigns.domain.errors import TemplateInvalid
from posthorn_campaigns.domain.templates import (
    MessageContent,
    TemplateSource,
    merge_fields_of,
    warnings_about,
)

from .template_support import CONTACT, URL, as_mailer

ENGINE = MiniJinjaTemplateEngine()


def prepared(html: str, *, subject: str = "News", text: str | None = None, **options: bool) -> MessageContent:
    options = {"track_opens": False, "track_clicks": True, **options}
    return ENGINE.prepare(TemplateSource(subject, html, text), **options)


# --- checking


@pytest.mark.parametrize(
    ("source", "part", "code", "line"),
    [
        (TemplateSource("{% if %}", "<p></p>"), "subject", "template_invalid", 1),
        (TemplateSource("Hi", "<p>\n\n{{ contact.first_name</p>"), "html", "template_invalid", 3),
        (TemplateSource("Hi", "<p></p>", "one\n{% for %}"), "text", "template_invalid", 2),
        (TemplateSource("Hi", "{% include '/etc/passwd' %}"), "html", "template_invalid", 1),
        (
            TemplateSource("Hi", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"),
            "html",
            "template_too_expensive",
            1,
        ),
        (
            TemplateSource("Hi", "<p></p>", "{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}"),
            "text",
            "template_invalid",
            1,
        ),
        (TemplateSource("Hi", "x" * (512 * 1024 + 1)), "html", "template_too_large", None),
        (TemplateSource("Hi", "<p>\n\0</p>"), "html", "template_invalid", 2),
        (TemplateSource("Hi\r\nBcc: all@example.com", "<p></p>"), "subject", "subject_not_one_line", None),
        (TemplateSource("{{ 'Hi\\r\\nBcc: all@example.com' }}", "<p></p>"), "subject", "subject_not_one_line", None),
        (TemplateSource("Hi\u2028there", "<p></p>"), "subject", "subject_not_one_line", None),
        (TemplateSource("x" * 999, "<p></p>"), "subject", "subject_too_long", None),
        (TemplateSource("Hi", "{{ contact.first_name.nothing.at.all() }}"), "html", "template_invalid", 1),
    ],
)
def test_what_cannot_be_sent_is_refused_with_part_and_line(
    source: TemplateSource, part: str, code: str, line: int | None
) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        ENGINE.check(source)
    details = caught.value.details
    assert (details["part"], caught.value.code, details["line"]) == (part, code, line)


def test_the_merge_fields_of_all_parts_are_known() -> None:
    source = TemplateSource(
        "{{ contact.first_name }}",
        "{{ contact.attributes.city }} {{ campaign.name }} {{ unsubscribe_url }}",
        "{% for item in contact.attributes.books %}{{ item }}{% endfor %}",
    )
    fields = ENGINE.check(source)
    assert {"contact.first_name", "contact.attributes.city", "campaign.name"} <= set(fields)
    assert "unsubscribe_url" not in fields


@pytest.mark.parametrize("html", ["{{ contact.attributes.age + 1 }}", "{{ contact.attributes.tags|length }}"])
def test_a_template_that_needs_certain_values_is_not_refused_for_want_of_them(html: str) -> None:
    ENGINE.check(TemplateSource("Hi", html))


# --- links


def test_static_links_are_tracked_each_address_once() -> None:
    content = prepared(
        "<a href=\"https://example.com/a?x=1&amp;y=2\">1</a> <a class=b href='https://example.com/b'>2</a>"
        "<A HREF=https://example.com/c>3</A> <a href=' https://example.com/b '>again</a>"
    )
    assert [(link.number, link.url) for link in content.links] == [
        (0, "https://example.com/a?x=1&y=2"),
        (1, "https://example.com/b"),
        (2, "https://example.com/c"),
    ]
    rendered = as_mailer(content.html, html=True)
    assert re.findall(r'href="https://mail\.test/t/c/(\d)"', rendered, re.IGNORECASE) == ["0", "1", "2", "1"]


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/{{ contact.attributes.city }}",
        "{{ contact.attributes.url }}",
        "{% if contact.attributes.vip %}https://example.com/vip{% endif %}",
        "mailto:post@example.com",
        "tel:+441234",
        "#top",
        "/relative",
        "//example.com/no-scheme",
        "javascript:alert(1)",
        "https://",
        "https://exa mple.com/",
        "https://[::1",
        "",
        "https://example.com/" + "x" * 5000,
    ],
)
def test_other_links_stay_as_they_are(href: str) -> None:
    content = prepared(f'<a href="{href}">x</a>{{{{ unsubscribe_url }}}}')
    assert content.links == ()
    assert f'href="{href}"' in content.html


def test_links_in_comments_styles_and_code_are_left_alone() -> None:
    html = (
        '<!-- <a href="https://example.com/comment">x</a> --><style>/* <a href="https://example.com/css"> */</style>'
        '{# <a href="https://example.com/code"> #}{% set x = \'<a href="https://example.com/string">\' %}'
        '{% raw %}<a href="https://example.com/raw">{% endraw %}{{ unsubscribe_url }}'
    )
    assert prepared(html).links == ()


def test_without_click_tracking_links_stay() -> None:
    content = prepared('<a href="https://example.com/a">x</a>', track_clicks=False)
    assert content.links == ()
    assert 'href="https://example.com/a"' in content.html
    assert "https://example.com/a" in content.text


def test_links_in_an_own_text_part_share_the_table() -> None:
    content = prepared(
        '<a href="https://example.com/a">x</a>',
        text="See https://example.com/a, or (https://example.com/b). Yours: https://example.com/{{ contact.email }}",
    )
    assert [link.url for link in content.links] == ["https://example.com/a", "https://example.com/b"]
    text = as_mailer(content.text, html=False)
    assert (
        "See https://mail.test/t/c/0, or (https://mail.test/t/c/1). Yours: https://example.com/ada@example.com" in text
    )


def test_quotes_and_brackets_in_attributes_do_not_confuse_anybody() -> None:
    content = prepared(
        '<td title="{{ contact.attributes.x|default("a > b") }}"><a href="https://example.com/a" '
        'title="{% if contact.first_name == "Ada" %}>{% endif %}">x</a></td>'
    )
    assert [link.url for link in content.links] == ["https://example.com/a"]
    assert 'title="a &gt; b"' in as_mailer(content.html, html=True)


# --- unsubscribe link and pixel


def test_a_message_without_an_unsubscribe_link_gets_one_in_both_parts() -> None:
    content = prepared("<html><body><p>Hi</p></body></html>", text="Hi")
    html = as_mailer(content.html, html=True)
    assert f'<a href="{URL}"' in html
    assert html.index(URL) < html.index("</body>")
    assert as_mailer(content.text, html=False) == f"Hi\n\nUnsubscribe: {URL}\n"


def test_a_message_with_an_unsubscribe_link_gets_no_second_one() -> None:
    content = prepared('<p><a href="{{ unsubscribe_url }}">Bye</a></p>', text="Bye: {{ unsubscribe_url }}")
    assert as_mailer(content.html, html=True) == f'<p><a href="{URL}">Bye</a></p>'
    assert as_mailer(content.text, html=False) == f"Bye: {URL}"


def test_an_unsubscribe_link_in_blocks_and_loops_works() -> None:
    content = prepared(
        '{% if contact.attributes.vip %}{% for i in [1] %}<a href="{{ unsubscribe_url }}">x</a>{% endfor %}{% endif %}'
        '{% macro bye() %}<a href="{{ unsubscribe_url }}">y</a>{% endmacro %}{{ bye() }}'
    )
    assert as_mailer(content.html, html=True).count(f'href="{URL}"') == 2


@pytest.mark.parametrize("html", ["<html><body><p>Hi</p></BODY></html>", "<p>Hi</p>"])
def test_the_open_pixel_is_the_last_thing_in_the_body(html: str) -> None:
    rendered = as_mailer(prepared(html, track_opens=True).html, html=True)
    assert 'src="https://mail.test/t/o/token"' in rendered
    assert re.search(r"<img [^>]*>(</body></html>)?$", rendered, re.IGNORECASE)
    assert "/t/o/" not in as_mailer(prepared(html).html, html=True)


# --- text part


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two<br>lines</p>", "One\n\nTwo\nlines\n"),
        ("<ul><li>a</li><li>b</li></ul>after", "- a\n- b\n\nafter\n"),
        ('<a href="https://example.com/">Shop</a>', "Shop (https://example.com/)\n"),
        ('<a href="https://example.com/">https://example.com/</a>', "https://example.com/\n"),
        ('<a href="mailto:a@example.com">Write</a>', "Write\n"),
        ('<a href="https://example.com/"><img src="x" alt="Logo"></a>', "Logo (https://example.com/)\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<style>p {}</style><title>T</title><!-- c --><p>x &amp; y&nbsp;z</p>", "x & y z\n"),
        ("<p>  a \n\n  <b>b</b>c  </p>", "a bc\n"),
        ("<p>Dear {{ contact.first_name }},</p><p>hello</p>", "Dear Ada,\n\nhello\n"),
        (
            "<table>{% for item in contact.attributes.books %}<tr><td>{{ item }}</td></tr>{% endfor %}</table>end",
            "a\nb\n\nend\n",
        ),
        ("<p>Hi</p>{% if contact.attributes.vip %}<p>A</p>{% else %}<p>B</p>{% endif %}<p>C</p>", "Hi\n\nA\n\nC\n"),
        ('<p {% if contact.attributes.vip %}class="x"{% endif %}>Hi</p>', "Hi\n"),
        ("<style>{% set city = contact.attributes.city %}</style><p>{{ city }}</p>", "London\n"),
        ("<p>&#123;{ 7*7 }&#125; and &#123;% if %}</p>", "{{ 7*7 }} and {% if %}\n"),
        ("<p>{<b>{</b> x }}</p>", None),
        ("<p>1 < 2 and a<b</p>", None),
    ],
)
def test_the_text_part_says_what_the_html_says(html: str, text: str | None) -> None:
    rendered = as_mailer(plain_text(html), html=False)
    if text is not None:
        assert rendered == text


def test_a_text_part_that_cannot_be_made_is_asked_for() -> None:
    html = '<a href="{% if contact.attributes.vip %}https://example.com/">x{% endif %}</a>'
    with pytest.raises(TemplateInvalid) as caught:
        ENGINE.check(TemplateSource("Hi", html))
    assert (caught.value.code, caught.value.details["part"]) == ("text_part_needed", "text")


# --- rendering


def test_a_contact_cannot_break_the_subject_or_inject_html_or_code() -> None:
    content = prepared("<p>{{ contact.first_name }}</p>", subject="Hi {{ contact.first_name }}")
    evil = {**CONTACT, "first_name": "x\r\nBcc: <b@example.com>\u2028{{ 7*7 }}"}
    message = ENGINE.render(content, evil, unsubscribe_url=URL, campaign_name="Autumn")
    assert message.subject == "Hi x Bcc: <b@example.com> {{ 7*7 }}"
    assert as_mailer(content.subject, html=False, contact=evil) == message.subject
    assert "&lt;b@example.com&gt;" in message.html
    assert "49" not in message.html


def test_a_preview_warns_about_missing_and_unknown_fields() -> None:
    content = prepared("{{ contact.attributes.shoe_size }} {{ first_name }} {{ contact.city }} {{ contact.email }}")
    message = ENGINE.render(content, CONTACT, unsubscribe_url=URL, campaign_name="Autumn")
    assert message.warnings == (
        "contact.attributes.shoe_size is empty for this contact.",
        "contact.city is not a field that templates have.",
        "first_name is not a field that templates have; there is contact.first_name.",
    )


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ((), {}),
        (("contact.first_name", "campaign.name", "foo"), {"first_name": "Ada"}),
        (("contact.attributes.city",), {"attributes": {"city": "London"}}),
        (("contact.attributes.city.name", "contact.attributes.none"), {"attributes": {"city": "London"}}),
        (("contact.attributes.city", "contact.attributes"), {"attributes": CONTACT["attributes"]}),
        (("contact",), CONTACT),
        (("contact.password",), {}),
    ],
)
def test_recipients_carry_only_the_fields_that_are_used(fields: tuple[str, ...], part: dict[str, Any]) -> None:
    assert merge_fields_of(CONTACT, fields) == part


def test_values_deep_inside_attributes_are_looked_for() -> None:
    contact = {"attributes": {"address": {"city": ""}}}
    fields = ["contact.attributes.address.city", "contact.attributes.address.zip.code"]
    assert len(warnings_about(fields, contact)) == 2


# --- code and the rest of a source


@pytest.mark.parametrize(
    "source",
    [
        "a {{ b }} c {% if d %}e{% endif %}",
        "{{ '}}' }}{{ \"%}\" }}{{ {'a': {'b': 1}} }}{% set x = {'a': '%}'} %}",
        "{%- raw -%}{{ x }}{% if %}{%- endraw -%}z",
        "\ue000 and \ue001 0\ue001",
        "{{ 'it\\'s' }}",
        "{ { } } {-{",
    ],
)
def test_code_is_taken_out_and_put_back_unchanged(source: str) -> None:
    protected = protect(source)
    assert protected.restored() == source
    assert "{{" not in protected.text


def test_comments_are_dropped() -> None:
    assert protect("a{# {{ b }} #}c").restored() == "ac"


@pytest.mark.parametrize(
    "piece",
    ["<", "<!", "<!--", '<a b="', "</", "{ ", "<style>", "&#", "<p {% raw %}{% endraw %}", " ", "/", " /", "\n=", "x "],
)
@pytest.mark.parametrize("before", ["", "<a", "<a b", "<style>p{a:b}"])
def test_broken_html_takes_no_time_to_speak_of(before: str, piece: str) -> None:
    html = before + (piece * 250_000)[:500_000] + "{{ unsubscribe_url }}"
    try:
        prepared(html)
    except TemplateInvalid as error:
        assert error.code in {"template_invalid", "text_part_needed"}  # noqa: PT017  either answer is fine, if fast


@pytest.mark.parametrize(
    "html",
    [
        "<p>" + "<b>" * 50_000 + "</i>" * 50_000,
        "<p>" + "".join(f"<b id={number}>" for number in range(100)) + "<p></p>" * 20_000,
        "<div>" * 30_000,
        '<a href="https://example.com/">' + "x</a>" * 40_000,
        "<p>x" * 20_000,
    ],
)
def test_sources_made_to_be_slow_are_not(html: str) -> None:
    content = prepared("<style>p { color: red }</style>" + html)
    assert "posthorn_unsubscribe_url" in content.html
