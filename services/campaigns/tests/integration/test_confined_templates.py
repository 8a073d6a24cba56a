"""Templates that would stop the process or fill its memory: fuel does not see all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from posthorn_campaigns.adapters.templates import ConfinedTemplateEngine, workshop
from posthorn_campaigns.adapters.templates.confined import WorkshopBroken
from posthorn_campaigns.domain.errors import TemplateInvalid
from posthorn_campaigns.domain.templates import TemplateSource

pytestmark = pytest.mark.integration

# Lists that hold the same list twice, forty times over: nothing to make, and without end to print.
NESTED = "{% set a=[1] %}" + "{% set a=[a,a] %}" * 40
TWICE = NESTED + NESTED.replace("a", "b")
PLAIN = TemplateSource(subject="Hello {{ contact.first_name }}", html="<p>News for {{ contact.first_name }}</p>")


@pytest.fixture
def engine() -> Generator[ConfinedTemplateEngine]:
    confined = ConfinedTemplateEngine(processes=1)
    yield confined
    confined.close()


@pytest.mark.parametrize("html", [NESTED + "{{ a }}", NESTED + "{{ a|tojson }}", TWICE + "{{ a == b }}"])
def test_a_template_without_end_is_refused_and_the_next_one_works(engine: ConfinedTemplateEngine, html: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        engine.check(TemplateSource(subject="News", html=html))
    assert caught.value.code == "template_too_expensive"
    assert engine.check(PLAIN) == ("contact.first_name",)


def test_it_gives_what_the_engine_gives(engine: ConfinedTemplateEngine) -> None:
    inner = workshop.MiniJinjaTemplateEngine()
    source = TemplateSource(subject=PLAIN.subject, html='<a href="https://example.com/é">{{ contact.first_name }}</a>')
    content = engine.prepare(source, track_opens=True, track_clicks=True)
    assert content == inner.prepare(source, track_opens=True, track_clicks=True)
    options: dict[str, Any] = {"unsubscribe_url": "https://example.com/u", "campaign_name": "Spring"}
    contact = {"first_name": "Émilie", "attributes": {"plan": "team", "points": 3}}
    assert engine.render(content, contact, **options) == inner.render(content, contact, **options)
    with pytest.raises(TemplateInvalid) as caught:
        engine.check(TemplateSource(subject="News", html="\n{{ broken"))
    assert (caught.value.code, caught.value.details["line"]) == ("template_invalid", 2)


def test_text_that_is_no_unicode_is_refused(engine: ConfinedTemplateEngine) -> None:
    with pytest.raises(TemplateInvalid):
        engine.check(TemplateSource(subject="News", html="\ud800"))


def test_a_process_that_was_killed_while_idle_is_replaced(engine: ConfinedTemplateEngine) -> None:
    engine.check(PLAIN)
    (worker,) = engine._all
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    while worker._process.running:
        time.sleep(0.01)
    assert engine.check(PLAIN) == ("contact.first_name",)


def test_the_process_sees_no_secrets(engine: ConfinedTemplateEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORN_CAMPAIGNS_LINK_SECRET", "a-canary")
    engine.check(PLAIN)
    (worker,) = engine._all
    assert worker._process is not None
    assert b"canary" not in Path(f"/proc/{worker._process.pid}/environ").read_bytes()


async def test_the_service_answers_while_a_template_is_at_work(client: Any, headers: Any) -> None:
    body = {"name": "Without end", "subject": "News", "html": NESTED + "{{ a }}"}
    refused = asyncio.create_task(client.post("/v1/templates", json=body, headers=headers))
    await asyncio.sleep(1)
    assert not refused.done()
    assert (await client.get("/health/live")).status_code == 200
    answer = await refused
    assert (answer.status_code, answer.json()["code"]) == (422, "template_too_expensive")


def test_a_defect_of_ours_is_not_taken_for_a_bad_template(engine: ConfinedTemplateEngine) -> None:
    with pytest.raises(WorkshopBroken, match="TypeError"):
        engine._ask({"do": "check", "source": {"subject": "News", "html": None}})
    assert engine.check(PLAIN) == ("contact.first_name",)
