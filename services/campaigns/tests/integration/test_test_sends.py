"""Test sends, to a mailer that listens on a real port."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.testing import INTERNAL_SECRET
from posthorn_common.tokens import ServiceTokens
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage

from .campaign_support import Office, listening

pytestmark = pytest.mark.integration


class ListeningMailer:
    """Takes messages as the mailer does, and may be told to refuse them."""

    def __init__(self) -> None:
        self.messages: list[TransactionalMessage] = []
        self.callers: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self._tokens = ServiceTokens(INTERNAL_SECRET, service="mailer", clock=SystemClock())

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/internal/messages", status_code=202)
        async def take(message: TransactionalMessage, request: Request) -> Any:
            self.callers.append(self._tokens.verify(request.headers["authorization"].removeprefix("Bearer ")))
            if self.refusal is not None:
                status, code = self.refusal
                return JSONResponse({"code": code, "detail": "There is no relay."}, status_code=status)
            self.messages.append(message)
            return {"message_id": str(new_id()), "status": "pending"}

        return app


@pytest.fixture
def mailer() -> ListeningMailer:
    return ListeningMailer()


@pytest.fixture
async def office(
    settings: Settings, container: Container, mailer: ListeningMailer, headers: Any, organisation_id: Any
) -> AsyncGenerator[Office]:
    async with listening(mailer.app()) as url:
        with_mailer = settings.model_copy(update={"mailer_url": url})
        async with bootstrap(with_mailer) as opened:
            app = build_app(dataclasses.replace(opened, identity=container.identity))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://campaigns") as client:
                yield Office(client, headers, organisation_id)


async def test_a_test_goes_to_each_address_as_a_contact_would_get_it(office: Office, mailer: ListeningMailer) -> None:
    campaign = await office.a_campaign(relay_id=str(new_id()), reply_to="answers@example.com")
    contact = await office.a_contact(first_name="Grace", attributes={"city": "Rome"})
    body = {"to": ["One@Example.com", "two@example.com", "one@example.com"], "contact_id": contact["id"]}
    answer = await office.act(campaign, "test-send", body, status=202)
    assert answer == {"to": ["one@example.com", "two@example.com"], "subject": "Hello Grace", "warnings": []}
    assert mailer.callers == ["campaigns", "campaigns"]
    first, second = mailer.messages
    assert [message.to_email for message in mailer.messages] == answer["to"]
    assert first.idempotency_key != second.idempotency_key
    assert (first.purpose, first.organisation_id) == ("test_send", office.organisation_id)
    assert (first.from_name, first.from_email, first.reply_to) == ("Books", "post@example.com", "answers@example.com")
    assert str(first.relay_id) == campaign["relay_id"]
    assert "Dear Grace of Rome" in str(first.html)
    assert "https://posthorn.test/u/preview" in str(first.html)
    assert "/t/o/" not in str(first.html)
    assert "read on (https://example.com/read)" in first.text
    assert await office.campaign(campaign) == campaign


async def test_a_test_without_a_contact_uses_a_sample_and_warns(office: Office, mailer: ListeningMailer) -> None:
    campaign = await office.a_campaign()
    answer = await office.act(campaign, "test-send", {"to": ["one@example.com"]}, status=202)
    assert answer["subject"] == "Hello Ada"
    assert answer["warnings"] == ["contact.attributes.city is empty for this contact."]
    assert len(mailer.messages) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"to": []},
        {"to": [f"a{number}@example.com" for number in range(6)]},
        {"to": ["a@example.com\r\nBcc: b@example.com"]},
        {},
    ],
)
async def test_too_many_or_impossible_addresses_are_refused(office: Office, mailer: ListeningMailer, body: Any) -> None:
    campaign = await office.a_campaign()
    assert (await office.act(campaign, "test-send", body, status=422))["code"] == "invalid_request"
    assert mailer.messages == []


async def test_what_the_mailer_refuses_is_told_with_its_reason(office: Office, mailer: ListeningMailer) -> None:
    campaign = await office.a_campaign()
    mailer.refusal = (422, "no_relay")
    problem = await office.act(campaign, "test-send", {"to": ["one@example.com"]}, status=409)
    assert (problem["code"], problem["reason"]) == ("message_refused", "no_relay")
    assert problem["detail"] == "The message cannot be sent. There is no relay."


async def test_a_mailer_that_is_away_answers_503(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> None:
    office = Office(client, headers, organisation_id)  # its mailer is a name that nobody has
    campaign = await office.a_campaign()
    problem = await office.act(campaign, "test-send", {"to": ["one@example.com"]}, status=503)
    assert problem["code"] == "temporarily_unavailable"


async def test_a_contact_of_another_organisation_cannot_be_used(office: Office, sign_in: Any) -> None:
    campaign = await office.a_campaign()
    theirs = await Office(office.client, sign_in(), new_id()).a_contact()
    body = {"to": ["one@example.com"], "contact_id": theirs["id"]}
    assert (await office.act(campaign, "test-send", body, status=404))["code"] == "contact_not_found"
