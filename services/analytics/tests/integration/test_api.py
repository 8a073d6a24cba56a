"""The statistics API: who may read what, pages, files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from posthorn_analytics.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_common import migrations
from posthorn_common.clock import new_id
from posthorn_contracts.permissions import Permission

from .support import LINKS, NOON, Letter, handle, record

pytestmark = pytest.mark.integration

PATHS = (
    "/statistics", "/statistics/links", "/statistics/domains", "/statistics/timeline", "/statistics/engagements",
    "/statistics/engagements.csv", "/statistics/domains.csv", "/progress",
)  # fmt: skip


@pytest.fixture
async def letter(container: Container, organisation_id: UUID) -> Letter:
    """A campaign that is over."""
    letter = Letter(organisation_id)
    await handle(container, letter.started(), letter.planned(1), letter.recorded(record(new_id(), "sent")))
    await handle(container, letter.completed())
    return letter


@pytest.mark.parametrize("path", PATHS)
async def test_statistics_are_for_members_who_may_read_them(
    client: httpx.AsyncClient, letter: Letter, headers_of: Any, organisation_id: UUID, path: str
) -> None:
    url = f"/v1/campaigns/{letter.campaign_id}{path}"
    assert (await client.get(url)).status_code == 401
    assert (await client.get(url, headers={"Authorization": "Bearer x"})).status_code == 401
    everything_else = set(Permission) - {Permission.STATISTICS_READ}
    answer = await client.get(url, headers=headers_of(organisation_id, *everything_else))
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing")
    assert (await client.get(url, headers=headers_of(organisation_id))).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_campaigns_of_another_organisation_do_not_exist(
    client: httpx.AsyncClient, letter: Letter, headers_of: Any, campaigns_service: Any, path: str
) -> None:
    campaigns_service.has_draft(letter.organisation_id, letter.campaign_id)
    answers = [
        await client.get(f"/v1/campaigns/{campaign_id}{path}", headers=headers_of(new_id()))
        for campaign_id in (letter.campaign_id, new_id())
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "campaign_not_found")] * 2
    documents = [{**answer.json(), "request_id": None} for answer in answers]
    assert documents[0] == documents[1]
    assert (await client.get(f"/v1/campaigns/no-id{path}", headers=headers_of(new_id()))).status_code == 422


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/progress"])
async def test_a_campaign_that_no_event_has_told_of_is_looked_up(
    client: httpx.AsyncClient, organisation_id: UUID, reader: dict[str, str], campaigns_service: Any, path: str
) -> None:
    campaign_id = new_id()
    campaigns_service.has_draft(organisation_id, campaign_id)
    answer = await client.get(f"/v1/campaigns/{campaign_id}{path}", headers=reader)
    assert answer.status_code == 200
    if path == "/statistics":
        assert (answer.json()["name"], answer.json()["status"], answer.json()["sent"]) == ("March letter", None, 0)


async def test_nothing_is_said_of_an_unknown_campaign_while_nobody_can_be_asked(
    client: httpx.AsyncClient, reader: dict[str, str]
) -> None:
    answer = await client.get(f"/v1/campaigns/{new_id()}/statistics", headers=reader)
    assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")


async def test_the_organisation_sees_its_own_campaigns_only(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, reader: dict[str, str], headers_of: Any
) -> None:
    letters = [Letter(organisation_id) for _ in range(3)]
    minute = (container.clock.now() - timedelta(hours=1) - NOON).total_seconds() / 60
    for letter in letters:
        await handle(container, letter.started(), letter.recorded(record(new_id(), "sent", minute=minute)))
    await handle(container, Letter(new_id()).recorded(record(new_id(), "sent", minute=minute)))
    old = letters[0].recorded(record(new_id(), "bounced", minute=minute - 40 * 24 * 60))
    await handle(container, old)
    first = (await client.get("/v1/statistics", headers=reader, params={"limit": 2})).json()
    second = (
        await client.get("/v1/statistics", headers=reader, params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    shown = [item["campaign_id"] for item in first["items"] + second["items"]]
    assert shown == sorted((str(letter.campaign_id) for letter in letters), reverse=True)
    assert second["next_cursor"] is None
    assert (first["totals"]["sent"], first["totals"]["bounced"]) == (3, 0)
    longer = (await client.get("/v1/statistics", headers=reader, params={"days": 60})).json()
    assert longer["totals"]["bounced"] == 1
    nobody = (await client.get("/v1/statistics", headers=headers_of(new_id()))).json()
    assert (nobody["items"], nobody["totals"]["sent"]) == ([], 0)
    assert (await client.get("/v1/statistics")).status_code == 401


async def test_while_the_database_is_away_the_answer_is_to_try_again(
    settings: Any, letter: Letter, reader: dict[str, str], mint: Any, proxy_to: Any
) -> None:
    url = settings.database_url.get_secret_value()
    database = await proxy_to(sa.make_url(url).port)
    proxied = SecretStr(sa.make_url(url).set(port=database.port).render_as_string(hide_password=False))
    async with bootstrap(settings.model_copy(update={"database_url": proxied})) as process:
        app = build_app(process)
        app.state.identity = mint.identity("analytics")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t", headers=reader) as http:
            path = f"/v1/campaigns/{letter.campaign_id}"
            await database.cut()
            for resource in PATHS:
                answer = await http.get(f"{path}{resource}")
                assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")
            await database.mend()
            assert (await http.get(f"{path}/statistics")).status_code == 200


async def test_lists_come_in_pages(
    container: Container, client: httpx.AsyncClient, letter: Letter, reader: dict[str, str], token_of: Any
) -> None:
    records = [record(new_id(), "sent", domain=f"{number % 5}.example", minute=number * 60) for number in range(12)]
    await handle(container, letter.recorded(*records))
    for _ in range(5):
        await client.get(f"/t/c/{token_of(letter.campaign_id, new_id())}/0")
    lengths = {"links": 2, "domains": 6, "engagements": 5}
    for name, length in lengths.items():
        items = await _all(client, f"/v1/campaigns/{letter.campaign_id}/statistics/{name}", reader)
        assert len(items) == length, name
    volumes = [
        item["sent"] for item in await _all(client, f"/v1/campaigns/{letter.campaign_id}/statistics/domains", reader)
    ]
    assert volumes == sorted(volumes, reverse=True)
    path = f"/v1/campaigns/{letter.campaign_id}/statistics/timeline"
    hours = await _all(client, path, reader)
    assert [hour["start"] for hour in hours] == sorted({hour["start"] for hour in hours})
    assert sum(hour["sent"] for hour in hours) == 13
    days = await _all(client, path, reader, interval="day")
    assert [(day["start"], day["sent"]) for day in days if day["sent"]] == [("2026-03-02T00:00:00Z", 13)]


async def _all(client: httpx.AsyncClient, path: str, headers: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 2, **params, **({"cursor": cursor} if cursor else {})}
        answer = await client.get(path, headers=headers, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("resource", ["links", "domains", "timeline", "engagements"])
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "WyJ4Il0",
        "W10",
        "e30",
        "WzEsMiwzXQ",
        "WzFlOTld",
        "WyIyMDI2LTAxLTAxIl0",
        "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjAwIl0",
    ],
)
async def test_a_made_up_cursor_is_refused(
    client: httpx.AsyncClient, letter: Letter, reader: dict[str, str], resource: str, cursor: str
) -> None:
    path = f"/v1/campaigns/{letter.campaign_id}/statistics/{resource}"
    answer = await client.get(path, headers=reader, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_engagements_can_be_filtered(
    client: httpx.AsyncClient, letter: Letter, reader: dict[str, str], token_of: Any
) -> None:
    contact = new_id()
    token = token_of(letter.campaign_id, contact)
    await client.get(f"/t/o/{token}")
    await client.get(f"/t/c/{token}/1")
    await client.get(f"/t/c/{token}/0", headers={"User-Agent": "curl/8"})
    path = f"/v1/campaigns/{letter.campaign_id}/statistics/engagements"

    async def kinds(**params: str) -> list[tuple[str, int | None, bool]]:
        items = (await client.get(path, headers=reader, params=params)).json()["items"]
        assert {item["contact_id"] for item in items} == {str(contact)}
        return [(item["kind"], item["link_number"], item["is_machine"]) for item in items]

    assert await kinds() == [("open", None, False), ("click", 1, False)]
    assert await kinds(kind="click") == [("click", 1, False)]
    assert await kinds(by="machines") == [("click", 0, True)]
    assert len(await kinds(by="all")) == 3


async def test_engagements_are_exported_with_addresses_of_links(
    client: httpx.AsyncClient, letter: Letter, reader: dict[str, str], token_of: Any
) -> None:
    contact = new_id()
    token = token_of(letter.campaign_id, contact)
    await client.get(f"/t/o/{token}")
    await client.get(f"/t/c/{token}/1")
    path = f"/v1/campaigns/{letter.campaign_id}/statistics/engagements.csv"
    answer = await client.get(path, headers=reader)
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    header, opened, clicked = csv.reader(io.StringIO(answer.text))
    assert header == ["at", "kind", "contact_id", "link_number", "url", "is_machine"]
    assert opened[1:] == ["open", str(contact), "", "", "no"]
    assert clicked[1:] == ["click", str(contact), "1", LINKS[1], "no"]


async def test_no_cell_of_an_export_is_a_formula(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, reader: dict[str, str]
) -> None:
    letter = Letter(organisation_id)
    domains = ['=cmd|"/c calc"!a1', "+1.example", "-1.example", "@sum.example", "fine.example", 'a,"b".example']
    await handle(container, letter.recorded(*(record(new_id(), "sent", domain=domain) for domain in domains)))
    answer = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics/domains.csv", headers=reader)
    rows = list(csv.reader(io.StringIO(answer.text)))
    cells = sorted(row[0] for row in rows[1:])
    assert cells == sorted([f"'{domain}" if domain[0] in "=+-@" else domain for domain in domains])
    assert {row[1] for row in rows[1:]} == {"1"}


async def test_a_long_export_is_complete(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, reader: dict[str, str]
) -> None:
    letter = Letter(organisation_id)
    await handle(container, letter.scheduled())
    async with container.engine.begin() as connection:
        insert = sa.text(
            "INSERT INTO engagements (id, organisation_id, campaign_id, contact_id, kind, is_machine, at) "
            "SELECT gen_random_uuid(), :organisation_id, :campaign_id, gen_random_uuid(), 'open', false, now() "
            "FROM generate_series(1, 4500)"
        )
        await connection.execute(insert, {"organisation_id": organisation_id, "campaign_id": letter.campaign_id})
    answer = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics/engagements.csv", headers=reader)
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert len(rows) == 4501
    assert len({row[2] for row in rows[1:]}) == 4500


async def test_every_business_route_asks_for_the_permission(container: Container) -> None:
    document = build_app(container).openapi()
    routes = {path: item["get"] for path, item in document["paths"].items()}
    assert {path.startswith("/v1/") for path in routes} == {True, False}
    for path, operation in routes.items():
        assert bool(operation.get("security")) is path.startswith("/v1/"), path
        assert operation["operationId"]


async def test_a_process_without_the_role_serves_health_only(container: Container) -> None:
    transport = httpx.ASGITransport(build_app(container, business_routes=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://analytics") as http:
        assert (await http.get("/v1/statistics")).status_code == 404
        assert (await http.get("/health/live")).json() == {"service": "analytics", "status": "ok"}
        assert (await http.get("/health/ready")).json()["checks"] == dict.fromkeys(
            ("database", "redis", "rabbitmq"), "ok"
        )


async def test_the_schema_can_be_built_and_taken_down(make_database: Callable[[str], str]) -> None:
    url = make_database("analytics")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
