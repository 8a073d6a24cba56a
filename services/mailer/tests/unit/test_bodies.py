"""A body says what its template renders to, whatever of it was encoded before."""

from __future__ import annotations

import binascii
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn_common.templating import Template, TemplateProblem
from posthorn_mailer.adapters.composing.bodies import Body

MARK = "m4rk-" * 13 + "x"
TOKEN = b"t0ken_" * 11
LONG = "a literal that is long enough to be encoded before, "

literals = st.sampled_from(
    ["", " ", "\n", "short", LONG, f"  {LONG}\n", f"\n.{LONG}é {MARK}\t", f"{LONG}\0", f"{MARK}"]
)
prints = st.sampled_from([
    "{{ contact.name }}", "{{- contact.name -}}", "{{+ contact.name +}}", "{{ contact.name|upper }}",
    "{# not seen #}", "{#- nor this -#}", "{{ contact.missing.at.all }}", "{% set contact = {'name': 'Eve'} %}",
    "{{ '\\x00' }}", f"{{{{ '{LONG}' }}}}",
])  # fmt: skip
wraps = st.sampled_from([
    ("{% if contact.name %}", "{% endif %}"),
    ("{%- if contact.missing -%}", "{%- else -%} else {% endif -%}"),
    ("{% for x in contact.items %}", "{{ x }}{% endfor %}"),
    ("{% for x in contact.items -%}", "{%- else %}none{% endfor %}"),
    ("{% filter upper %}", "{% endfilter %}"),
    ("{% set kept %}", "{% endset %}{{ kept|length }}{{ kept|lower }}"),
    ("{% macro m(x) %}", "{% endmacro %}{{ m(1)|upper }}"),
    ("{% block b %}", "{% endblock %}{{ self.b()|upper }}"),
    ("{%- raw -%}", "{{ contact.name }}{%- endraw %}"),
    ("{% for x in contact.items recursive %}", "{{ loop([])|upper }}{% endfor %}"),
])  # fmt: skip
templates = st.recursive(
    literals | prints,
    lambda inner: (
        st.lists(inner, max_size=5).map("".join)
        | st.tuples(wraps, inner).map(lambda both: f"{both[0][0]}{both[1]}{both[0][1]}")
    ),
    max_leaves=12,
)
contacts = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ada", "Émilie & Co. <3", "\0", "\0000\0", f"{MARK}", ""]), "items": st.just(["é", 2])}
)


def said(body: bytes) -> str:
    return binascii.a2b_qp(body).replace(b"\r\n", b"\n").decode()


def rendered(source: str, contact: dict[str, Any], *, html: bool) -> str | TemplateProblem:
    try:
        return Template(source, html=html).render({"contact": contact})
    except TemplateProblem as problem:
        return problem


@given(source=templates, contact=contacts, html=st.booleans())
@example(source=f"{{% filter upper %}}{LONG}{{% endfilter %}}", contact={"name": "Ada"}, html=True)
@example(source=f"{{{{ contact.name -}}}}\n {LONG}", contact={"name": "Ada"}, html=False)
@example(
    source=f"{{% for x in [1] recursive %}}{LONG}{{% if x == 1 %}}{{{{ loop([2])|upper }}}}{{% endif %}}{{% endfor %}}",
    contact={},
    html=False,
)
@example(source=f"{LONG}\n{{{{- contact.name }}}} {LONG}", contact={"name": "Ada"}, html=False)
def test_a_body_says_what_its_template_renders_to(source: str, contact: dict[str, Any], html: bool) -> None:
    expected = rendered(source, contact, html=html)
    if isinstance(expected, TemplateProblem):
        with pytest.raises(TemplateProblem) as found:
            Body(source, html=html, functions={}, mark=MARK).encoded({"contact": contact}, TOKEN)
        assert (found.value.code, found.value.line) == (expected.code, expected.line)
        return
    body = Body(source, html=html, functions={}, mark=MARK).encoded({"contact": contact}, TOKEN)
    assert said(body) == expected.replace(MARK, TOKEN.decode())


def test_a_problem_is_told_with_the_line_of_the_template() -> None:
    body = Body(f"{LONG}\n" * 3 + "{{ nothing() }}", html=False, functions={}, mark=MARK)
    with pytest.raises(TemplateProblem) as problem:
        body.encoded({}, TOKEN)
    assert problem.value.line == 4


def test_literals_in_a_loop_count_as_output() -> None:
    body = Body("{% for x in range(3000) %}" + "x" * 1000 + "{% endfor %}", html=False, functions={}, mark=MARK)
    with pytest.raises(TemplateProblem) as problem:
        body.encoded({}, TOKEN)
    assert problem.value.code == "template_output_too_large"
