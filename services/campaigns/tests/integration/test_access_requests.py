"""Access to what is known of a contact: gathered from all services or not at all, by a link that expires."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import socket
import zipfile
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.domain.erasures import HoldingService
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.testing import INTERNAL_SECRET, FakeClock
from posthorn_common.tokens import ServiceTokens
from posthorn_contracts.disclosures import DisclosureQuestion
from posthorn_contracts.permissions import Role

from .campaign_support import Json, Office

pytestmark = pytest.mark.integration


class Holder:
    """Answers as mailer and analytics do, or is away."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.questions: list[DisclosureQuestion] = []
        self.status = 200
        self.answering = asyncio.Event()
        self.answering.set()
        self._tokens = ServiceTokens(INTERNAL_SECRET, service=service, clock=SystemClock())

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/internal/contacts/disclosure")
        async def disclose(question: DisclosureQuestion, request: Request) -> Any:
            token = request.headers["authorization"].removeprefix("Bearer ")
            assert self._tokens.verify(token) == "campaigns"
            self.questions.append(question)
            await self.answering.wait()
            record = {"email": question.email, "at": "2026-03-02T09:30:00Z"}
            return JSONResponse({"records": {"deliveries": [record], "messages": []}}, status_code=self.status)

        return app


@contextlib.asynccontextmanager
async def _listening(app: FastAPI) -> AsyncGenerator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
def holders() -> dict[str, Holder]:
    return {service: Holder(service) for service in ("mailer", "analytics")}


@pytest.fixture
async def opened(settings: Settings, container: Container, holders: dict[str, Holder]) -> AsyncGenerator[Container]:
    """The service with neighbours; nobody else's requests are due."""
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM access_requests"))
    async with contextlib.AsyncExitStack() as stack:
        urls = {
            f"{service}_url": await stack.enter_async_context(_listening(holder.app()))
            for service, holder in holders.items()
        }
        one = await stack.enter_async_context(bootstrap(settings.model_copy(update=urls)))
        yield dataclasses.replace(one, identity=container.identity)


@pytest.fixture
async def office(opened: Container, headers: Any, organisation_id: Any) -> AsyncGenerator[Office]:
    transport = httpx.ASGITransport(build_app(opened))
    async with httpx.AsyncClient(transport=transport, base_url="http://campaigns") as client:
        yield Office(client, headers, organisation_id)


async def ask(office: Office, contact: Json) -> Json:
    return await office.post(f"/v1/contacts/{contact['id']}/access-requests", status=202)


async def shown(office: Office, request: Json) -> Json:
    return await office.get(f"/v1/access-requests/{request['id']}")


async def download(office: Office, url: str) -> httpx.Response:
    return await office.client.get(f"/{url.partition('/access-archives/')[1].strip('/')}/{url.rpartition('/')[2]}")


def files_of(archive: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        texts = {name: opened.read(name).decode() for name in opened.namelist()}
    return {name: json.loads(text) if name.endswith(".json") else text for name, text in texts.items()}


async def make_due(container: Container, request: Json) -> None:
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE access_requests SET next_attempt_at = now() WHERE id = :id"), {"id": UUID(request["id"])}
        )


async def test_all_that_is_known_comes_as_one_archive(
    office: Office, opened: Container, holders: dict[str, Holder]
) -> None:
    list_id = await office.a_list()
    contact = await office.a_contact(list_id, first_name="Ada", attributes={"city": "Köln"})
    await office.a_contact(list_id)
    request = await ask(office, contact)
    assert (request["state"], request["download_url"], request["requested_by_kind"]) == ("pending", None, "user")
    assert await opened.disclosing.work_on_due() == 1
    now = await shown(office, request)
    assert (now["state"], now["waits_for"]) == ("completed", None)
    answer = await download(office, now["download_url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert len(answer.content) == now["bytes_total"]
    files = files_of(answer.content)
    (about,) = files["campaigns/contact.json"]
    assert (about["email"], about["first_name"], about["attributes"]) == (contact["email"], "Ada", {"city": "Köln"})
    (subscription,) = files["campaigns/subscriptions.json"]
    assert (subscription["list_id"], subscription["list_name"], subscription["status"]) == (
        list_id, "Readers", "subscribed",
    )  # fmt: skip
    assert [change["status"] for change in files["campaigns/subscription_changes.json"]] == ["subscribed"]
    for service, holder in holders.items():
        assert files[f"{service}/deliveries.json"][0]["email"] == contact["email"]
        (question,) = holder.questions
        assert (question.organisation_id, str(question.contact_id)) == (office.organisation_id, contact["id"])
    for name in files:
        assert name == "README.txt" or name in files["README.txt"], "the archive explains each of its files"
    assert await opened.disclosing.work_on_due() == 0


async def test_a_service_that_is_away_is_waited_for_and_there_is_no_half_archive(
    office: Office, opened: Container, holders: dict[str, Holder]
) -> None:
    request = await ask(office, await office.a_contact())
    for service, status in (("analytics", 503), ("mailer", 404)):
        holders[service].status = status
        await make_due(opened, request)
        await opened.disclosing.work_on_due()
        now = await shown(office, request)
        assert (now["state"], now["waits_for"], now["download_url"]) == ("pending", service, None)
    assert await opened.disclosing.work_on_due() == 0, "it pauses"
    async with opened.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(archive) FROM access_requests")) == 0
    for holder in holders.values():
        holder.status = 200
    await make_due(opened, request)
    await opened.disclosing.work_on_due()
    assert (await shown(office, request))["state"] == "completed"


async def test_a_worker_that_was_given_up_stores_nothing_and_another_takes_over(
    office: Office, opened: Container, holders: dict[str, Holder]
) -> None:
    request = await ask(office, await office.a_contact())
    holders["mailer"].answering.clear()
    frozen = asyncio.create_task(opened.disclosing.work_on_due())
    async with asyncio.timeout(60):
        while not holders["mailer"].questions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await opened.disclosing.work_on_due() == 0, "it is leased"
    await make_due(opened, request)  # the lease is over
    holders["mailer"].answering.set()
    await opened.disclosing.work_on_due()
    await frozen
    assert (await shown(office, request))["state"] == "completed"
    async with opened.engine.connect() as connection:
        query = sa.text("SELECT attempts FROM access_requests WHERE id = :id")
        assert await connection.scalar(query, {"id": UUID(request["id"])}) == 2
        told = sa.text("SELECT count(*) FROM outbox WHERE body LIKE '%complete_access_request%' AND body LIKE :id")
        assert await connection.scalar(told, {"id": f"%{request['id']}%"}) == 1


async def test_who_is_erased_meanwhile_leaves_no_archive(
    office: Office, opened: Container, holders: dict[str, Holder]
) -> None:
    contact = await office.a_contact()
    done = await ask(office, contact)
    await opened.disclosing.work_on_due()
    url = (await shown(office, done))["download_url"]
    await ask(office, contact)
    holders["analytics"].answering.clear()
    working = asyncio.create_task(opened.disclosing.work_on_due())
    async with asyncio.timeout(60):
        while len(holders["analytics"].questions) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    erased = await office.client.delete(f"/v1/contacts/{contact['id']}", headers=office.headers)
    (own,) = erased.json()["confirmations"]
    assert (own["service"], own["counts"]["access_requests"]) == (HoldingService.CAMPAIGNS, 2)
    holders["analytics"].answering.set()
    await working
    assert (await office.get("/v1/access-requests"))["items"] == []
    assert (await download(office, url)).status_code == 404


async def test_links_and_archives_expire(office: Office, opened: Container) -> None:
    request = await ask(office, await office.a_contact())
    await opened.disclosing.work_on_due()
    url = (await shown(office, request))["download_url"]
    assert (await download(office, url)).status_code == 200
    assert (await download(office, url[:-2] + "AA")).status_code == 404
    late = FakeClock(opened.clock.now() + timedelta(minutes=16))
    with contextlib.ExitStack() as patched:
        patched.callback(setattr, opened.disclosing, "_clock", opened.disclosing._clock)
        opened.disclosing._clock = late
        assert (await download(office, url)).status_code == 404
    async with opened.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE access_requests SET expires_at = now()"))
    assert (await download(office, url)).status_code == 404
    path = f"/v1/access-requests/{request['id']}"
    assert (await office.client.get(path, headers=office.headers)).json()["code"] == "access_request_not_found"
    await opened.disclosing.purge_expired()
    async with opened.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM access_requests")) == 0


async def test_requests_are_for_those_who_may_and_told_to_the_audit_log(
    office: Office, opened: Container, sign_in: Any
) -> None:
    contact = await office.a_contact()
    asked = [await ask(office, contact) for _ in range(3)]
    page = await office.get("/v1/access-requests?limit=2")
    rest = await office.get(f"/v1/access-requests?limit=2&cursor={page['next_cursor']}")
    assert [item["id"] for item in page["items"] + rest["items"]] == [each["id"] for each in reversed(asked)]
    path = f"/v1/access-requests/{asked[0]['id']}"
    for caller, status in ((sign_in(), 404), (sign_in(office.organisation_id, Role.EDITOR), 403)):
        for method, there in (
            ("GET", path), ("DELETE", path), ("POST", f"/v1/contacts/{contact['id']}/access-requests"),
        ):  # fmt: skip
            assert (await office.client.request(method, there, headers=caller)).status_code == status
    nobody = await office.client.post(f"/v1/contacts/{new_id()}/access-requests", headers=office.headers)
    assert nobody.json()["code"] == "contact_not_found"
    assert (await office.client.delete(path, headers=office.headers)).status_code == 204
    assert (await office.client.get(path, headers=office.headers)).status_code == 404
    query = sa.text(
        "SELECT body::jsonb -> 'data' ->> 'action' FROM outbox WHERE event_type = 'audit.action.recorded.v1' "
        "AND body::jsonb -> 'data' ->> 'resource_id' IN (:contact, :request) ORDER BY id"
    )
    async with opened.engine.connect() as connection:
        values = {"contact": contact["id"], "request": asked[0]["id"]}
        told = list(await connection.scalars(query, values))
    assert told == ["add_contact", *["request_access"] * 3, "delete_access_request"]
