from __future__ import annotations

import smtplib
from email.message import EmailMessage
from email.policy import SMTPUTF8

import httpx
import pytest

from posthorn_local.plan import NATIVE, PREFERRED_PORTS, Plan
from posthorn_local.ports import answers, free_ports
from posthorn_local.secrets_file import load_or_create_secrets

pytestmark = pytest.mark.integration


@pytest.fixture
def catcher(tmp_path):
    smtp, http = free_ports(2)
    ports = {**PREFERRED_PORTS, "mailcatcher_smtp": smtp, "mailcatcher_http": http}
    plan = Plan(tmp_path, ports, load_or_create_secrets(tmp_path / "secrets.json"), NATIVE)
    process = plan.mailcatcher
    process.start()
    process.wait_until(lambda: answers(http), seconds=60)
    yield plan
    assert process.stop(), "ends by itself"


@pytest.fixture
def api(catcher):
    with httpx.Client(base_url=catcher.urls["mailcatcher"], trust_env=False) as client:
        yield client


def _send(plan, *recipients, subject="Hello", message_id="<1@example.org>", html="<p>Hello</p>"):
    message = EmailMessage(policy=SMTPUTF8)
    message["Subject"] = subject
    message["Message-ID"] = message_id
    message.set_content("Hello in plain text.")
    message.add_alternative(html, subtype="html")
    with smtplib.SMTP("127.0.0.1", plan.ports["mailcatcher_smtp"]) as client:
        client.ehlo()
        assert {"smtputf8", "8bitmime"} <= client.esmtp_features.keys()
        client.send_message(message, "sender@example.org", recipients, mail_options=["SMTPUTF8", "BODY=8BITMIME"])


def test_accepts_a_message_and_shows_it(catcher, api):
    _send(catcher, "one@example.net", subject="Grüße & <b>more</b>")

    [item] = api.get("/api/messages").json()["items"]
    assert item["envelope_from"] == "sender@example.org"
    assert item["envelope_to"] == ["one@example.net"]
    assert item["subject"] == "Grüße & <b>more</b>"
    assert item["message_id"] == "<1@example.org>"
    message = api.get(f"/api/messages/{item['id']}").json()
    assert message["text"].strip() == "Hello in plain text."
    assert message["html"].strip() == "<p>Hello</p>"
    assert "Hello in plain text." in message["raw"]

    assert "Grüße &amp; &lt;b&gt;more&lt;/b&gt;" in api.get("/").text
    page = api.get(f"/messages/{item['id']}").text
    assert "Grüße &amp; &lt;b&gt;more&lt;/b&gt;" in page
    assert "one@example.net" in page


def test_a_message_cannot_run_anything_in_the_page_that_shows_it(catcher, api):
    _send(catcher, "one@example.net", html="<script>alert(1)</script>")
    [item] = api.get("/api/messages").json()["items"]

    page = api.get(f"/messages/{item['id']}")
    frame = api.get(f"/messages/{item['id']}/html")

    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script>alert(1)</script>" in frame.text
    policy = frame.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "script-src" not in policy


def test_finds_by_recipient_and_subject_and_pages_newest_first(catcher, api):
    for number in range(5):
        _send(catcher, f"User{number % 2}@example.net", subject=f"Issue {number}", message_id=f"<{number}@x>")

    first = api.get("/api/messages", params={"recipient": "user0@EXAMPLE.net", "limit": 2}).json()
    second = api.get("/api/messages", params={"recipient": "user0@example.net", "cursor": first["next_cursor"]}).json()
    assert [item["subject"] for item in first["items"]] == ["Issue 4", "Issue 2"]
    assert [item["subject"] for item in second["items"]] == ["Issue 0"]
    assert second["next_cursor"] is None
    found = api.get("/api/messages", params={"subject": "issue 3"}).json()["items"]
    assert [item["subject"] for item in found] == ["Issue 3"]
    assert "Issue 3" in api.get("/", params={"subject": "issue 3"}).text


def test_counts_and_clears(catcher, api):
    _send(catcher, "one@example.net", "two@example.net")
    _send(catcher, "one@example.net")
    _send(catcher, "one@example.net", message_id="<2@example.org>")

    counted = api.get("/api/stats").json()
    assert (counted["accepted"], counted["recipients"]) == (3, 2)
    assert (counted["by_recipient_max"], counted["repeated"]) == (3, 1)

    assert api.delete("/api/messages").status_code == 204
    assert api.get("/api/stats").json()["accepted"] == 0
    assert api.get("/api/messages").json() == {"items": [], "next_cursor": None}


def test_keeps_messages_over_a_restart(catcher, api):
    _send(catcher, "one@example.net")
    process = catcher.mailcatcher
    process.stop()
    process.start()
    process.wait_until(lambda: answers(catcher.ports["mailcatcher_http"]), seconds=60)

    assert api.get("/api/stats").json()["accepted"] == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=-1", "cursor=" + "9" * 30])
def test_a_wrong_query_is_a_problem_of_the_client(api, query):
    response = api.get(f"/api/messages?{query}")

    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.json()["code"] == "invalid_query"


@pytest.mark.parametrize(
    "path", ["/messages/1", "/messages/1/html", "/messages/1/source", "/api/messages/1", "/messages/" + "9" * 30]
)
def test_a_message_that_does_not_exist_is_not_found(api, path):
    assert api.get(path).status_code == 404
