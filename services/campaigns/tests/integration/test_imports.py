"""What imports make of the rows of a file, with workers that take them in."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.imports import MAX_STORED_ERRORS

from .import_support import Json, Upload, contacts_of, counts_of, stored_pieces

pytestmark = pytest.mark.integration


def _created_rows() -> float:
    return REGISTRY.get_sample_value("posthorn_import_rows_total", {"outcome": "created"}) or 0


async def test_a_file_is_imported_into_a_list(
    client: httpx.AsyncClient,
    container: Container,
    headers: Any,
    organisation_id: UUID,
    list_id: str,
    upload: Upload,
    finish: Any,
) -> None:
    before = _created_rows()
    content = b"Email,First Name,city\nAda@Example.com,Ada,Rome\ngrace@example.com,Grace,\n"
    job = await upload(content, list_id=list_id)
    assert (job["status"], job["list_id"], job["mode"], job["bytes_total"]) == ("pending", list_id, "upsert", 72)
    assert (job["encoding"], job["delimiter"], job["columns"]) == ("utf-8", ",", ["email", "first_name", "city"])
    done = await finish(job)
    assert (done["status"], done["error"], done["bytes_read"]) == ("completed", None, done["bytes_total"])
    assert counts_of(done) == {"rows_read": 2, "created": 2, "updated": 0, "unchanged": 0, "rejected": 0}
    assert done["started_at"] is not None
    assert done["finished_at"] is not None
    contacts = await contacts_of(client, headers, list_id=list_id)
    assert contacts["ada@example.com"]["attributes"] == {"city": "Rome"}
    assert contacts["grace@example.com"]["attributes"] == {}
    assert await stored_pieces(container, organisation_id) == 0, "the file is dropped"
    assert _created_rows() == before + 2


async def test_an_import_again_changes_what_is_new_and_never_lifts_an_unsubscribe(
    client: httpx.AsyncClient, headers: Any, list_id: str, upload: Upload, finish: Any
) -> None:
    first = b"email,first_name,city\na@example.com,Ann,Rome\nb@example.com,Bob,Oslo\nc@example.com,Cleo,Bonn\n"
    await finish(await upload(first, list_id=list_id))
    contacts = await contacts_of(client, headers)
    await client.post(f"/v1/contacts/{contacts['a@example.com']['id']}/actions/unsubscribe", headers=headers)
    await client.delete(f"/v1/lists/{list_id}/contacts/{contacts['b@example.com']['id']}", headers=headers)
    second = b"email,first_name,plan\na@example.com,Anna,\nb@example.com,,pro\nc@example.com,Cleo,\nd@example.com,,\n"
    done = await finish(await upload(second, list_id=list_id))
    assert counts_of(done) == {"rows_read": 4, "created": 1, "updated": 2, "unchanged": 1, "rejected": 0}
    now = await contacts_of(client, headers)
    assert (now["a@example.com"]["first_name"], now["a@example.com"]["status"]) == ("Anna", "unsubscribed")
    assert now["b@example.com"]["attributes"] == {"city": "Oslo", "plan": "pro"}
    assert (now["b@example.com"]["first_name"], now["b@example.com"]["list_ids"]) == ("Bob", [])
    assert now["c@example.com"]["updated_at"] == contacts["c@example.com"]["updated_at"]
    assert now["d@example.com"]["list_ids"] == [list_id]


async def test_create_only_leaves_contacts_as_they_are_but_puts_them_on_the_list(
    client: httpx.AsyncClient, headers: Any, list_id: str, upload: Upload, finish: Any
) -> None:
    await finish(await upload(b"email,first_name\na@example.com,Ann\n"))
    again = b"email,first_name\na@example.com,Other\nb@example.com,Bob\nb@example.com,Rob\n"
    done = await finish(await upload(again, list_id=list_id, mode="create_only"))
    assert counts_of(done) == {"rows_read": 3, "created": 1, "updated": 0, "unchanged": 2, "rejected": 0}
    contacts = await contacts_of(client, headers, list_id=list_id)
    assert {email: contact["first_name"] for email, contact in contacts.items()} == {
        "a@example.com": "Ann",
        "b@example.com": "Bob",
    }


async def test_broken_lines_are_reported_and_the_rest_is_imported(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    lines = [
        b"email,first_name,city",
        b"a@example.com,Ann,Rome",
        b'b@example.com,"Bob,Oslo',
        b"c@example.com",
        b"",
        b"nobody,Dan,Bonn",
        b"e@example.com,\xff,Bonn",
        b"f@example.com,Fay,B\0nn",
        'g@example.com,"Gül ""G"" \nY","İzmir"'.encode(),
        'h@example.com,Hänsel,"Köln"'.encode(),
    ]
    done = await finish(await upload(b"\n".join(lines)))
    assert done["status"] == "completed"
    assert sorted(await contacts_of(client, headers)) == ["a@example.com", "h@example.com"]
    path = f"/v1/imports/{done['id']}/errors"
    page = (await client.get(path, params={"limit": "4"}, headers=headers)).json()
    rest = (await client.get(path, params={"cursor": page["next_cursor"]}, headers=headers)).json()
    assert rest["next_cursor"] is None
    found = [(item["row"], item["column"], item["code"]) for item in page["items"] + rest["items"]]
    assert found == [
        (2, "", "malformed_quotes"),
        (3, "", "wrong_column_count"),
        (4, "email", "invalid_email"),
        (5, "", "invalid_encoding"),
        (6, "city", "control_characters"),
        (7, "first_name", "control_characters"),
    ]
    assert counts_of(done) == {"rows_read": 8, "created": 2, "updated": 0, "unchanged": 0, "rejected": 6}
    assert (await client.get(f"{path}?cursor=WyJ4Il0", headers=headers)).status_code == 400
    report = await client.get(f"{path}.csv", headers=headers)
    assert report.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(report.text)))
    assert rows[0] == ["row", "column", "code", "message"]
    assert [(int(row), column, code) for row, column, code, _ in rows[1:]] == found
    assert "example.com" not in report.text


async def test_of_very_many_rejected_rows_the_first_are_kept_and_all_are_counted(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    total = MAX_STORED_ERRORS + 700
    done = await finish(await upload(b"email\n" + b"nobody\n" * total))
    assert (done["status"], done["rejected"]) == ("completed", total)
    report = (await client.get(f"/v1/imports/{done['id']}/errors.csv", headers=headers)).text
    assert report.splitlines()[-1].startswith(f"{MAX_STORED_ERRORS},email,invalid_email")


def _columns(first: int, number: int) -> str:
    return ",".join(f"a{column}" for column in range(first, first + number))


async def test_imports_give_no_contact_more_attributes_than_the_api_allows(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any, list_id: str
) -> None:
    full = f"email,{_columns(0, 190)}\nada@example.com{',x' * 190}\nben@example.com,x{',' * 189}\n"
    assert (await finish(await upload(full.encode())))["created"] == 2
    more = f"email,first_name,{_columns(190, 11)}\nada@example.com,Ada{',y' * 11}\nben@example.com,Ben{',y' * 11}\n"
    done = await finish(await upload(more.encode(), list_id=list_id))
    assert counts_of(done) == {"rows_read": 2, "created": 0, "updated": 1, "unchanged": 0, "rejected": 1}
    errors = (await client.get(f"/v1/imports/{done['id']}/errors", headers=headers)).json()["items"]
    assert [(error["row"], error["code"]) for error in errors] == [(1, "too_many_attributes")]
    stored = await contacts_of(client, headers)
    assert (stored["ada@example.com"]["first_name"], len(stored["ada@example.com"]["attributes"])) == ("", 190)
    assert list(await contacts_of(client, headers, list_id=list_id)) == ["ben@example.com"]
    # Within the limit all is well, also for a contact who has nearly all.
    last = f"email,{_columns(190, 10)}\nada@example.com{',z' * 10}\n"
    assert (await finish(await upload(last.encode())))["updated"] == 1


async def test_imports_give_no_contact_larger_attributes_than_the_api_allows(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    def file(first: int) -> bytes:
        values = f",{'x' * 9_000}" * 4
        return f"email,{_columns(first, 4)}\nada@example.com{values}\n".encode()

    assert (await finish(await upload(file(0))))["created"] == 1
    done = await finish(await upload(file(4)))
    assert (done["updated"], done["rejected"]) == (0, 1)
    assert len((await contacts_of(client, headers))["ada@example.com"]["attributes"]) == 4
    # Two rows of one file, of an address that is new.
    wide = f"email,{_columns(0, 8)}\n"
    rows = [f"ben@example.com{',' * 4 * n}{(',' + 'y' * 9_000) * 4}{',' * 4 * (1 - n)}\n" for n in (0, 1)]
    done = await finish(await upload((wide + "".join(rows)).encode()))
    assert counts_of(done) == {"rows_read": 2, "created": 0, "updated": 0, "unchanged": 1, "rejected": 1}
    assert list(await contacts_of(client, headers)) == ["ada@example.com"]


async def test_imports_that_ended_long_ago_are_forgotten_with_their_rejected_rows(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID, upload: Upload, finish: Any
) -> None:
    async def age(*jobs: Json) -> None:
        query = "UPDATE imports SET finished_at = now() - interval '91 days' WHERE id = ANY (CAST(:ids AS uuid[]))"
        async with container.engine.begin() as connection:
            await connection.execute(sa.text(query), {"ids": [job["id"] for job in jobs]})

    async def rejected() -> int:
        query = sa.text("SELECT count(*) FROM rejected_rows WHERE organisation_id = :id")
        async with container.engine.connect() as connection:
            return int((await connection.execute(query, {"id": organisation_id})).scalar_one())

    old = [await finish(await upload(b"email\nnobody\n")) for _ in range(12)]
    recent, waiting = await finish(await upload(b"email\nnobody\n")), await upload(b"email\nada@example.com\n")
    await age(*old)
    assert await rejected() == 13
    await container.receiving_imports.purge_ended_imports()
    items = (await client.get("/v1/imports", headers=headers)).json()["items"]
    assert [item["id"] for item in items] == [waiting["id"], recent["id"]]
    assert await rejected() == 1


async def test_imports_are_listed_newest_first(client: httpx.AsyncClient, headers: Any, upload: Upload) -> None:
    jobs = [(await upload(b"email\nada@example.com\n"))["id"] for _ in range(3)]
    page = (await client.get("/v1/imports?limit=2", headers=headers)).json()
    rest = (await client.get(f"/v1/imports?cursor={page['next_cursor']}", headers=headers)).json()
    assert [job["id"] for job in page["items"] + rest["items"]] == jobs[::-1]


async def test_another_organisations_imports_do_not_exist(
    client: httpx.AsyncClient, sign_in: Any, list_id: str, upload: Upload, finish: Any, headers: Any
) -> None:
    job = await upload(b"email\nnobody\n")
    stranger = sign_in()
    for method, path in (
        ("GET", f"/v1/imports/{job['id']}"),
        ("GET", f"/v1/imports/{job['id']}/errors"),
        ("GET", f"/v1/imports/{job['id']}/errors.csv"),
        ("POST", f"/v1/imports/{job['id']}/actions/cancel"),
    ):
        answer = await client.request(method, path, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "import_not_found"), path
    answer = await client.post(
        f"/v1/imports?list_id={list_id}", content=b"email\n", headers={**stranger, "Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "list_not_found")
    assert (await client.get("/v1/imports", headers=stranger)).json()["items"] == []
    assert (await finish(job))["status"] == "completed"


async def test_update_only_changes_who_is_there_and_rejects_all_others(
    client: httpx.AsyncClient, headers: Any, list_id: str, upload: Upload, finish: Any
) -> None:
    await finish(await upload(b"email,city\na@example.com,Rome\nb@example.com,Oslo\n"))
    content = b"email,city\nb@example.com,Oslo\nnew@example.com,Bonn\na@example.com,Paris\n"
    done = await finish(await upload(content, mode="update_only", list_id=list_id))
    assert counts_of(done) == {"rows_read": 3, "created": 0, "updated": 1, "unchanged": 1, "rejected": 1}
    errors = (await client.get(f"/v1/imports/{done['id']}/errors", headers=headers)).json()["items"]
    assert [(error["row"], error["code"]) for error in errors] == [(2, "unknown_contact")]
    cities = {email: item["attributes"]["city"] for email, item in (await contacts_of(client, headers)).items()}
    assert cities == {"a@example.com": "Paris", "b@example.com": "Oslo"}
    assert len(await contacts_of(client, headers, list_id=list_id)) == 2


async def test_who_has_unsubscribed_comes_back_only_for_a_reason_and_who_has_complained_never(
    client: httpx.AsyncClient, container: Container, headers: Any, list_id: str, upload: Upload, finish: Any
) -> None:
    content = b"email\na@example.com\nb@example.com\nc@example.com\nd@example.com\n"
    await finish(await upload(content, list_id=list_id))
    contacts = await contacts_of(client, headers)
    ids = {email[0]: contact["id"] for email, contact in contacts.items()}
    await client.post(f"/v1/contacts/{ids['a']}/actions/unsubscribe", headers=headers)
    await client.delete(f"/v1/lists/{list_id}/contacts/{ids['b']}", headers=headers)
    async with container.engine.begin() as connection:
        complained = sa.text("UPDATE contacts SET status = 'complained' WHERE id = :id")
        await connection.execute(complained, {"id": UUID(ids["c"])})
    await finish(await upload(content, list_id=list_id))
    assert {email[0]: item["status"] for email, item in (await contacts_of(client, headers)).items()} == {
        "a": "unsubscribed", "b": "active", "c": "complained", "d": "active",
    }  # fmt: skip
    done = await finish(await upload(content, list_id=list_id, lift_reason="They signed up again"))
    assert (done["lifted"], done["lift_reason"]) == (1, "They signed up again")
    now = await contacts_of(client, headers)
    assert {email[0]: (item["status"], item["list_ids"]) for email, item in now.items()} == {
        "a": ("active", [list_id]),
        "b": ("active", [list_id]),
        "c": ("complained", [list_id]),
        "d": ("active", [list_id]),
    }
    async with container.engine.connect() as connection:
        query = sa.text("SELECT body FROM outbox WHERE event_type = 'campaigns.contact.resubscribed.v1'")
        told = [json.loads(body)["data"]["contact_id"] for body in await connection.scalars(query)]
    assert [contact_id for contact_id in told if contact_id in ids.values()] == [ids["a"]]
    answer = await client.post(
        "/v1/imports?mode=create_only&lift_reason=because",
        content=content,
        headers={**headers, "Content-Type": "text/csv"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "lift_needs_changes")


async def test_progress_is_streamed_to_its_end(
    client: httpx.AsyncClient, container: Container, headers: Any, sign_in: Any, upload: Upload
) -> None:
    job = await upload(b"email\n" + b"".join(b"user%d@example.com\n" % number for number in range(3000)))
    path = f"/v1/imports/{job['id']}/progress"
    assert (await client.get(path, headers=sign_in())).status_code == 404
    working = asyncio.create_task(container.importing.work_on(UUID(job["id"]), stop=asyncio.Event()))
    answer = await client.get(path, headers=headers)
    await working
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.strip().split("\n\n")]
    assert [event["event"] for event in events[-2:]] == ["progress", "end"]
    assert json.loads(events[-2]["data"])["status"] == "completed"
    assert json.loads(events[-2]["data"])["created"] == 3000


async def test_declared_attributes_are_stored_as_declared_and_required_of_new_contacts(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    for key, kind, required in (("visits", "number", False), ("vip", "boolean", False), ("plan", "string", True)):
        declared = {"key": key, "type": kind, "required": required}
        assert (await client.post("/v1/contact-attributes", json=declared, headers=headers)).status_code == 201
    content = (
        b"email,plan,visits,vip,locale,time_zone\n"
        b"a@example.com,pro,7,yes,pt_br,Europe/Lisbon\n"
        b"b@example.com,,1,no,,\n"
        b"c@example.com,pro,many,,,\n"
        b"d@example.com,pro,1,,portuguese!,\n"
        b"e@example.com,pro,1,,,Mars/Base\n"
    )
    done = await finish(await upload(content))
    errors = (await client.get(f"/v1/imports/{done['id']}/errors", headers=headers)).json()["items"]
    assert [(error["row"], error["column"], error["code"]) for error in errors] == [
        (2, "plan", "attribute_required"),
        (3, "visits", "attribute_type"),
        (4, "locale", "invalid_locale"),
        (5, "time_zone", "invalid_time_zone"),
    ]
    contacts = await contacts_of(client, headers)
    assert list(contacts) == ["a@example.com"]
    contact = contacts["a@example.com"]
    assert contact["attributes"] == {"plan": "pro", "visits": 7, "vip": True}
    assert (contact["locale"], contact["time_zone"]) == ("pt-BR", "Europe/Lisbon")
    # Who has what is required need not be told it again, and what a file does not say stays.
    done = await finish(await upload(b"email,visits\na@example.com,8\nnew@example.com,9\n"))
    assert counts_of(done) == {"rows_read": 2, "created": 0, "updated": 1, "unchanged": 0, "rejected": 1}
    contact = (await contacts_of(client, headers))["a@example.com"]
    assert (contact["attributes"]["visits"], contact["locale"]) == (8, "pt-BR")
