"""Contacts as files: written by workers that die and race, had by signed links, gone when they expire."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.app import exporting
from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.entrypoints.jobs import run_export_jobs
from posthorn_campaigns.settings import Settings
from posthorn_common.errors import TransientError

pytestmark = pytest.mark.integration

Json = dict[str, Any]
Ask = Callable[..., Awaitable[Json]]
NEVER = asyncio.Event


@pytest.fixture
def ask(client: httpx.AsyncClient, headers: Any) -> Ask:
    async def call(**wanted: Any) -> Json:
        answer = await client.post("/v1/exports", json=wanted, headers=headers)
        assert answer.status_code == 202, answer.text
        document: Json = answer.json()
        assert (document["status"], document["download_url"]) == ("pending", None)
        return document

    return call


@pytest.fixture
def look(client: httpx.AsyncClient, headers: Any) -> Callable[[Json], Awaitable[Json]]:
    async def call(export: Json) -> Json:
        document: Json = (await client.get(f"/v1/exports/{export['id']}", headers=headers)).json()
        return document

    return call


@pytest.fixture
def download(client: httpx.AsyncClient) -> Callable[[Json], Awaitable[httpx.Response]]:
    async def call(export: Json) -> httpx.Response:
        return await client.get(httpx.URL(export["download_url"]).path)

    return call


async def _import(
    client: httpx.AsyncClient, container: Container, headers: Any, lines: list[Json], **params: str
) -> None:
    content = "\n".join(json.dumps(line) for line in lines)
    answer = await client.post(
        "/v1/imports", content=content, params=params, headers={**headers, "Content-Type": "application/x-ndjson"}
    )
    await container.importing.work_on(UUID(answer.json()["id"]), stop=NEVER())


def _readers(count: int) -> list[Json]:
    return [{"email": f"reader{number}@example.com", "visits": number} for number in range(count)]


async def _pieces(container: Container, export: Json) -> int:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM export_pieces WHERE export_id = :id")
        return int((await connection.execute(query, {"id": UUID(export["id"])})).scalar_one())


async def test_contacts_are_exported_as_csv_that_no_spreadsheet_runs(
    client: httpx.AsyncClient, container: Container, headers: Any, ask: Ask, look: Any, download: Any
) -> None:
    for key, kind in (("visits", "number"), ("tags", "list")):
        await client.post("/v1/contact-attributes", json={"key": key, "type": kind}, headers=headers)
    lines = [
        {"email": "ada@example.com", "first_name": "=cmd()", "visits": 3, "tags": ["a", "b"], "note": 'x "y",\nz'},
        {"email": "bob@example.com", "visits": -1},
    ]
    await _import(client, container, headers, lines)
    export = await ask()
    await container.exporting.work_on(UUID(export["id"]), stop=NEVER())
    done = await look(export)
    assert (done["status"], done["contacts"]) == ("completed", 2)
    answer = await download(done)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(answer.content) == done["bytes_total"]
    ada, bob = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (ada["first_name"], ada["visits"], ada["tags"]) == ("'=cmd()", "3", "a;b")
    assert json.loads(ada["other_attributes"]) == {"note": 'x "y",\nz'}
    assert (bob["email"], bob["visits"], bob["other_attributes"]) == ("bob@example.com", "'-1", "")


async def test_ndjson_that_is_exported_and_imported_elsewhere_is_the_same(
    client: httpx.AsyncClient, container: Container, headers: Any, sign_in: Any, ask: Ask, look: Any, download: Any
) -> None:
    lines = [{"email": "ada@example.com", "first_name": "=Ada", "locale": "pt-BR", "deep": {"a": [1, None, "é"]}}]
    await _import(client, container, headers, lines)
    export = await ask(format="ndjson")
    await container.exporting.work_on(UUID(export["id"]), stop=NEVER())
    file = await download(await look(export))
    elsewhere = sign_in()
    mapping = json.dumps({"status": None, "created_at": None})
    await _import(client, container, elsewhere, [json.loads(line) for line in file.text.splitlines()], mapping=mapping)
    (there,) = (await client.get("/v1/contacts", headers=elsewhere)).json()["items"]
    (here,) = (await client.get("/v1/contacts", headers=headers)).json()["items"]
    same = ("email", "first_name", "last_name", "locale", "time_zone", "attributes")
    assert {name: there[name] for name in same} == {name: here[name] for name in same}


async def test_a_list_or_a_segment_is_exported(
    client: httpx.AsyncClient, container: Container, headers: Any, ask: Ask, look: Any, download: Any
) -> None:
    list_id = (await client.post("/v1/lists", json={"name": "Few"}, headers=headers)).json()["id"]
    await client.post("/v1/contact-attributes", json={"key": "visits", "type": "number"}, headers=headers)
    await _import(client, container, headers, _readers(9))
    await _import(client, container, headers, _readers(5), list_id=list_id)
    rule = {"attribute": "visits", "at_least": 3}
    answer = await client.post("/v1/segments", json={"name": "Often", "rule": rule}, headers=headers)
    assert answer.status_code == 201, answer.text
    segment_id = answer.json()["id"]
    for wanted, numbers in (
        ({"list_id": list_id}, {0, 1, 2, 3, 4}),
        ({"segment_id": segment_id}, {3, 4, 5, 6, 7, 8}),
        ({"list_id": list_id, "segment_id": segment_id}, {3, 4}),
    ):
        export = await ask(format="ndjson", **wanted)
        await container.exporting.work_on(UUID(export["id"]), stop=NEVER())
        file = await download(await look(export))
        assert {json.loads(line)["attributes"]["visits"] for line in file.text.splitlines()} == numbers
    for missing in ("list_id", "segment_id"):
        answer = await client.post("/v1/exports", json={missing: str(UUID(int=1))}, headers=headers)
        assert answer.status_code == 404


async def test_a_list_that_is_deleted_meanwhile_fails_the_export(
    client: httpx.AsyncClient, container: Container, headers: Any, ask: Ask, look: Any
) -> None:
    list_id = (await client.post("/v1/lists", json={"name": "Gone"}, headers=headers)).json()["id"]
    export = await ask(list_id=list_id)
    await client.delete(f"/v1/lists/{list_id}", headers=headers)
    await container.exporting.work_on(UUID(export["id"]), stop=NEVER())
    done = await look(export)
    assert (done["status"], done["error_code"], done["download_url"]) == ("failed", "list_not_found", None)
    assert done["finished_at"] is not None


async def test_workers_that_die_and_race_write_every_contact_once(
    client: httpx.AsyncClient,
    container: Container,
    settings: Settings,
    headers: Any,
    ask: Ask,
    look: Any,
    download: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "_CONTACTS_PER_STEP", 7)
    await _import(client, container, headers, _readers(50))
    export = await ask(format="ndjson")
    export_id = UUID(export["id"])

    class Dies(Exception):
        """As a process does: nothing of the transaction is committed."""

    def dying(*_: Any) -> bytes:
        raise Dies

    for steps in (0, 2):
        with monkeypatch.context() as patch:
            written = [exporting.lines_of] * steps + [dying]
            patch.setattr(exporting, "lines_of", _one_after_the_other(written))
            with pytest.raises(Dies):
                await container.exporting.work_on(export_id, stop=NEVER())
        await container.exporting.work_on(export_id, stop=NEVER())
        assert (await look(export))["contacts"] == 7 * steps, "until the lease ends it is the dead worker's"
        async with container.engine.begin() as connection:
            past = sa.text("UPDATE exports SET lease_until = now() - interval '1 second' WHERE id = :id")
            await connection.execute(past, {"id": export_id})
    stop = asyncio.Event()
    stop.set()
    await container.exporting.work_on(export_id, stop=stop)
    async with bootstrap(settings) as second:
        await asyncio.gather(*(each.exporting.work_on(export_id, stop=NEVER()) for each in (container, second) * 2))
    done = await look(export)
    assert (done["status"], done["contacts"]) == ("completed", 50)
    emails = [json.loads(line)["email"] for line in (await download(done)).text.splitlines()]
    assert sorted(emails) == sorted(line["email"] for line in _readers(50))


def _one_after_the_other(calls: list[Callable[..., bytes]]) -> Callable[..., bytes]:
    left = iter(calls)

    def call(*given: Any) -> bytes:
        return next(left)(*given)

    return call


async def test_a_link_gets_nothing_any_more_when_the_export_is_deleted_or_expired(
    client: httpx.AsyncClient, container: Container, headers: Any, sign_in: Any, ask: Ask, look: Any, download: Any
) -> None:
    await _import(client, container, headers, _readers(3))
    done = []
    for _ in range(2):
        export = await ask()
        await container.exporting.work_on(UUID(export["id"]), stop=NEVER())
        done.append(await look(export))
        assert (await download(done[-1])).status_code == 200
    deleted, expired = done
    listed = (await client.get("/v1/exports?limit=1", headers=headers)).json()
    rest = (await client.get(f"/v1/exports?cursor={listed['next_cursor']}", headers=headers)).json()
    assert [item["id"] for item in listed["items"] + rest["items"]] == [expired["id"], deleted["id"]]
    stranger = sign_in()
    for method in ("GET", "DELETE"):
        answer = await client.request(method, f"/v1/exports/{deleted['id']}", headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "export_not_found")
    assert (await client.delete(f"/v1/exports/{deleted['id']}", headers=headers)).status_code == 204
    async with container.engine.begin() as connection:
        past = sa.text("UPDATE exports SET expires_at = now() - interval '1 second' WHERE id = :id")
        await connection.execute(past, {"id": UUID(expired["id"])})
    for export in done:
        assert (await download(export)).status_code == 404
        assert (await client.get(f"/v1/exports/{export['id']}", headers=headers)).status_code == 404
    assert await _pieces(container, expired) == 1
    await container.exporting.purge_expired_exports()
    assert [await _pieces(container, export) for export in done] == [0, 0]


async def test_an_export_is_written_although_redis_was_away(
    client: httpx.AsyncClient, container: Container, headers: Any, ask: Ask, look: Any, eventually: Any
) -> None:
    await _import(client, container, headers, _readers(3))
    with pytest.MonkeyPatch.context() as patch:

        async def away(*_: Any) -> None:
            raise TransientError("Redis is away")

        patch.setattr(container.exporting._bell, "ring", away)
        export = await ask()
    stop = asyncio.Event()
    working = asyncio.create_task(run_export_jobs(container, stop))
    try:

        async def completed() -> bool:
            await container.exporting.ring_for_due_exports()
            return bool((await look(export))["status"] == "completed")

        await eventually(completed)
    finally:
        stop.set()
        await working
