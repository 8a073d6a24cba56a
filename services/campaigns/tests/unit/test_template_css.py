"""Style sheets are inlined where that cannot change what a template says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from posthorn_campaigns.adapters.templates.css import inline_css

from .template_support import as_mailer


def test_styles_are_inlined_and_media_queries_stay() -> None:
    html = inline_css(
        "<html><head><style>p { color: red } .b { margin: 0 } @media print { p { color: black } }</style></head>"
        '<body><p class="b">{{ contact.first_name }}</p></body></html>'
    )
    assert re.search(r'<p class="b" style="color: red; ?margin: 0;?">\{\{ contact.first_name \}\}</p>', html)
    assert "@media print" in html


_TABLE = (
    "<style>td { padding: 0 } .{{ contact.attributes.x }} { color: red }</style>"
    "<table>{% for item in contact.attributes.books %}<tr><td>{{ item }}</td></tr>{% else %}"
    "<tr><td>none</td></tr>{% endfor %}</table>"
)


def test_code_between_table_rows_stays_there() -> None:
    html = inline_css(_TABLE)
    assert 'style="padding: 0' in html
    rendered = as_mailer(html, html=True)
    assert re.sub(r"<style>.*?</style>| style=\"[^\"]*\"|</?(html|head|body|tbody)>", "", rendered) == (
        "<table><tr><td>a</td></tr><tr><td>b</td></tr></table>"
    )


def test_code_in_attributes_and_between_them_survives() -> None:
    html = inline_css(
        '<style>p { margin: 0 }</style><p {% if contact.attributes.vip %}title="vip"{% endif %} '
        'lang="{{ contact.attributes.lang|default("en") }}" style="color: {{ contact.attributes.colour }}" '
        "data-{{ contact.attributes.city|lower }}=1>x</p>"
    )
    rendered = as_mailer(html, html=True)
    assert 'title="vip"' in rendered
    assert 'lang="en"' in rendered
    assert 'data-london="1"' in rendered
    assert "margin: 0" in rendered


def test_values_in_style_sheets_are_inlined_too() -> None:
    html = inline_css("<style>p { color: {{ contact.attributes.colour }} }</style><p>x</p>")
    rendered = as_mailer(html, html=True, contact={"attributes": {"colour": "teal"}})
    assert re.search(r'<p style="color: teal;?">', rendered)


@pytest.mark.parametrize(
    "html",
    [
        "<p>no style sheet</p>",
        "<style>{% if contact.attributes.vip %}p { color: gold }{% endif %}</style><p>x</p>",
        "<style>p { color: red }</style>{% if contact.email %}<div>{% else %}<div class='b'>{% endif %}x</div>",
        "<style>p { color: red }</style>{% if contact.email %}<b>{% endif %}x{% if contact.email %}</b>{% endif %}",
        "<style>p { color: red }</style><!-- {% if contact.email %} --><b><!-- {% endif %} -->x</b>",
        "<style>p { color: red }</style><{{ contact.attributes.tag }}>x</p>",
        "<style>" + "p { color: red } " * 2000 + "</style>" + "<p>x</p>" * 1000,
    ],
)
def test_where_inlining_could_change_the_message_it_stays_as_it_is(html: str) -> None:
    assert inline_css(html) == html


def _sheet(css: str, elements: int) -> str:
    return f"<style>{css}</style>" + "<p>x</p>" * elements


@pytest.mark.parametrize(
    "html",
    [
        _sheet(",".join(["p"] * 100_000) + "{ color: red }", 20_000),
        _sheet("p { background: url(" + "x" * 100_000 + ") }", 20_000),
        _sheet("p {" + "".join(f"x{number}:1;" for number in range(10_000)) + "}", 20_000),
        _sheet("p:has(~ b) { color: red }", 20_000),
        _sheet(r"p:h\61s(~ b) { color: red }", 20_000),
        _sheet("p { color: red }" + "x" * 300_000, 1_000),
    ],
    ids=["selectors", "values", "properties", "has", "has_escaped", "no_property"],
)
def test_style_sheets_made_to_be_expensive_are_not_inlined(html: str) -> None:
    assert inline_css(html) == html


def test_where_styles_would_make_a_message_too_large_it_stays_as_it_is() -> None:
    html = _sheet("p { background: url(" + "x" * 10_000 + ") }", 100)
    assert inline_css(html) == html


def test_nothing_is_loaded(tmp_path: Any) -> None:
    secret = tmp_path / "secret.css"
    secret.write_text("p { color: rebeccapurple }")
    html = (
        f'<link rel="stylesheet" href="{secret.as_uri()}"><link rel="stylesheet" href="{secret}">'
        f"<style>@import url('{secret.as_uri()}'); p {{ margin: 0 }}</style><p>x</p>"
    )
    inlined = inline_css(html)
    assert "margin: 0" in inlined
    assert "rebeccapurple" not in inlined
