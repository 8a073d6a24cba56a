"""Users' templates: useful, harmless, bounded."""

from __future__ import annotations

import pytest

from posthorn_common.templating import MAX_SOURCE_BYTES, Template, TemplateProblem, visible


def render(source: str, *, html: bool = True, **context: object) -> str:
    return Template(source, html=html).render(context)


def test_values_are_escaped_in_html_only() -> None:
    assert render("{{ name }}", name="<b>") == "&lt;b&gt;"
    assert render("{{ name }}", html=False, name="<b>") == "<b>"


def test_missing_values_print_as_nothing() -> None:
    assert render("[{{ contact.attributes.city.name }}]", contact={}) == "[]"


def test_values_are_data_and_never_templates() -> None:
    assert render("{{ name }}", html=False, name="{{ 7*7 }}{% include 'x' %}") == "{{ 7*7 }}{% include 'x' %}"


def test_the_fields_a_template_uses_are_known() -> None:
    template = Template("{{ contact.first_name }}{% if contact.attributes.vip %}!{% endif %}", html=True)
    assert template.fields == {"contact.first_name", "contact.attributes.vip"}


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(TemplateProblem) as caught:
        Template("one\ntwo\n{% if %}", html=True)
    assert (caught.value.code, caught.value.line) == ("template_invalid", 3)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'a' * 2000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ range(1000000000) | list }}",
    ],
)
def test_work_without_end_is_stopped(source: str) -> None:
    with pytest.raises(TemplateProblem):
        render(source)


def test_too_much_output_is_refused() -> None:
    with pytest.raises(TemplateProblem):
        render("{% for a in range(3000) %}{{ text }}{% endfor %}", text="x" * 1000)


@pytest.mark.parametrize(
    "source", ["{{ ''.__class__ }}", "{{ x.__class__.__mro__ }}", "{{ loop.__init__ }}", "{{ self }}"]
)
def test_no_python_object_is_reachable(source: str) -> None:
    assert "class" not in render(source, x={})


@pytest.mark.parametrize(
    "call",
    ["x.clear()", "x.update({'a': 2})", "x.pop('a')", "x.copy()", "x.b.append(1)", "x.b.extend(x.b)", "x.c.clear()",
     "x.items().mapping.copy()"],
)  # fmt: skip
def test_what_is_rendered_can_be_neither_changed_nor_copied(call: str) -> None:
    shared = {"a": 1, "b": [1, 2], "c": {"d": 1}}
    with pytest.raises(TemplateProblem):
        render("{{ " + call + " }}", x=shared)
    assert shared == {"a": 1, "b": [1, 2], "c": {"d": 1}}


def test_a_field_that_is_missing_prints_nothing_whatever_its_name() -> None:
    assert render("{{ x.copy }}{{ x.update }}{{ x.pop }}{{ x['get'] }}|", x={"a": 1}) == "|"


def test_mappings_and_lists_can_be_walked_through() -> None:
    source = "{% for k, v in x|items %}{{ k }}={{ v|join('+') }} {% endfor %}{{ x.items()|length }} {{ x|tojson }}"
    assert render(source, html=False, x={"a": [1, 2], "b": [3]}) == 'a=1+2 b=3 2 {"a": [1, 2], "b": [3]}'


def test_a_context_that_was_made_visible_serves_several_templates() -> None:
    context = visible({"x": {"a": 1, "list": [{"b": "<"}]}})
    assert visible(context) is context
    assert render("{{ x.pop }}{{ x.list[0].pop }}{{ x.list[0].b }}", **context) == "&lt;"
    assert Template("{{ x.pop }}{{ x.a }}", html=False).render(context) == "1"


@pytest.mark.parametrize("source", ["{{ ('a' * 2000000000)|length }}", "{{ (x.b * 1000000000)|length }}"])
def test_repeating_takes_fuel(source: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        render(source, x={"b": [1, 2]})
    assert caught.value.code == "template_too_expensive"


@pytest.mark.parametrize("source", ["{{ x.pop('b') }}", "{{ x.nothing() }}", "{{ link('one') }}"])
def test_whatever_python_raises_is_a_problem_of_the_template(source: str) -> None:
    template = Template(source, html=True, functions={"link": lambda number: "ab"[number]})
    with pytest.raises(TemplateProblem):
        template.render({"x": {}})


@pytest.mark.parametrize("source", ["{% include 'x' %}", "{% extends '/etc/passwd' %}", "{% import 'x' as y %}"])
def test_nothing_is_loaded(source: str) -> None:
    with pytest.raises(TemplateProblem):
        render(source)


def test_a_source_that_is_too_large_is_refused() -> None:
    with pytest.raises(TemplateProblem) as caught:
        Template("x" * (MAX_SOURCE_BYTES + 1), html=True)
    assert caught.value.code == "template_too_large"
