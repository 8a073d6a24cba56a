"""The files of imports through the API: formats, encodings, columns, and uploads that go wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.entrypoints.http.app import build_app

from .import_support import Json, Upload, contacts_of, counts_of, stored_pieces

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
async def test_encodings_and_delimiters_are_detected(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any, encoding: str, delimiter: str
) -> None:
    text = "email;city\nada@example.com;Besançon à l\u2019Île\n".replace(";", delimiter)
    text = text if encoding != "latin-1" else text.replace("\u2019", "'")
    done = await finish(await upload(text.encode(encoding)))
    assert (done["status"], done["created"], done["delimiter"]) == ("completed", 1, delimiter)
    city = (await contacts_of(client, headers))["ada@example.com"]["attributes"]["city"]
    assert city.replace("'", "\u2019") == "Besançon à l\u2019Île"


async def test_delimiter_and_encoding_may_be_named(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    content = "email\tcity\nada@example.com\tŁódź, Łask, |\n".encode("cp1250")
    done = await finish(await upload(content, "text/csv; charset=windows-1250", delimiter="tab"))
    assert (done["status"], done["created"]) == ("completed", 1)
    assert (await contacts_of(client, headers))["ada@example.com"]["attributes"] == {"city": "Łódź, Łask, |"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable_file"),
        (b"PK\x03\x04\x14\0\x06\0\n\0", "unreadable_file"),
        (b"name,address\nAda,ada@example.com\n", "missing_email_column"),
        (b"email,a!b\nada@example.com,x\n", "invalid_column"),
        (b"email,city,City\nada@example.com,x,y\n", "duplicate_column"),
        (b"email" + b",c" * 201 + b"\n", "too_many_columns"),
    ],
)
async def test_a_wrong_header_is_told_at_once_and_nothing_is_kept(
    client: httpx.AsyncClient,
    container: Container,
    headers: Any,
    organisation_id: UUID,
    content: bytes,
    code: str,
) -> None:
    answer = await client.post("/v1/imports", content=content, headers={**headers, "Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await client.get("/v1/imports", headers=headers)).json()["items"] == []
    assert await stored_pieces(container, organisation_id) == 0


async def test_what_is_no_csv_is_refused(client: httpx.AsyncClient, headers: Any) -> None:
    for content_type in ("application/json", "multipart/form-data; boundary=x", "text/html", ""):
        answer = await client.post("/v1/imports", content=b"email\n", headers={**headers, "Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), content_type


async def _rows(count: int) -> AsyncIterator[bytes]:
    yield b"email,first_name,last_name,city\n"
    for begin in range(0, count, 1000):
        yield b"".join(b"user%d@example.com,Ann,Lee,Lisbon\n" % number for number in range(begin, begin + 1000))


async def test_a_file_that_is_too_large_is_refused_and_nothing_is_kept(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    for content in (_rows(400_000), b"email\n" + b"x" * container.settings.import_max_bytes):
        answer = await client.post("/v1/imports", content=content, headers={**headers, "Content-Type": "text/csv"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert await stored_pieces(container, organisation_id) == 0
    assert (await client.get("/v1/imports", headers=headers)).json()["items"] == []


async def test_an_upload_that_breaks_off_leaves_nothing(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    blocks = [block async for block in _rows(50_000)]
    stored = 0

    async def receive() -> dict[str, Any]:
        nonlocal stored
        if blocks:
            return {"type": "http.request", "body": blocks.pop(0), "more_body": True}
        stored = await stored_pieces(container, organisation_id)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """Nobody is there any more."""

    request = client.build_request("POST", "/v1/imports", headers={**headers, "Content-Type": "text/csv"})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/imports",
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw if name.lower() != b"content-length"],
    }
    await build_app(container)(scope, receive, send)
    assert stored > 0, "pieces are stored while the file comes in"
    assert await stored_pieces(container, organisation_id) == 0
    assert (await client.get("/v1/imports", headers=headers)).json()["items"] == []


async def test_an_upload_whose_process_died_is_dropped_and_cannot_go_on(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        async for block in _rows(20_000):
            yield block
        await container.receiving_imports.discard_abandoned_uploads()
        assert await stored_pieces(container, organisation_id) > 0, "an upload that is alive is left alone"
        async with container.engine.begin() as connection:
            await connection.execute(
                sa.text("UPDATE imports SET lease_until = now() - interval '1 s' WHERE organisation_id = :id"),
                {"id": organisation_id},
            )
        await container.receiving_imports.discard_abandoned_uploads()
        yield b"late@example.com,,,\n"

    answer = await client.post("/v1/imports", content=slow(), headers={**headers, "Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (404, "import_not_found")
    assert await stored_pieces(container, organisation_id) == 0


async def test_a_file_of_100_megabytes_is_stored_and_imported_within_little_memory(
    client: httpx.AsyncClient, container: Container, headers: Any, finish: Any
) -> None:
    """2,000 contacts again and again: what is measured is the way of the file, not of a large table."""
    block = b"".join(b"user%d@example.com,%s\n" % (number, b"x" * 1000) for number in range(2000))

    async def blocks() -> AsyncIterator[bytes]:
        yield b"email,notes\n"
        for _ in range(50):
            yield block

    process = psutil.Process()
    before = most = process.memory_info().rss

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.005)

    receiving = container.receiving_imports
    receiving._max_bytes = 200 * 1024 * 1024
    watching = asyncio.create_task(watch())
    answer = await client.post("/v1/imports", content=blocks(), headers={**headers, "Content-Type": "text/csv"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["bytes_total"] > 100_000_000
    done = await finish(answer.json())
    while done["status"] == "running":
        done = await finish(done)
    watching.cancel()
    assert counts_of(done) == {"rows_read": 100_000, "created": 2000, "updated": 0, "unchanged": 98_000, "rejected": 0}
    assert most - before < 64 * 1024 * 1024, "the file is never whole in memory"


async def test_ndjson_is_imported_and_attributes_keep_their_types(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    lines = b'{"email": "ada@example.com", "visits": 3, "attributes": {"tags": ["a", "b"]}}\n[]\n{"email": "x"}\n'
    job = await upload(lines, "application/x-ndjson")
    assert (job["kind"], job["delimiter"], job["columns"]) == ("ndjson", "", [])
    done = await finish(job)
    assert counts_of(done) == {"rows_read": 3, "created": 1, "updated": 0, "unchanged": 0, "rejected": 2}
    # Fewer values are a change too.
    fewer = await finish(await upload(b'{"email": "ada@example.com", "tags": ["a"]}', "application/x-ndjson"))
    assert fewer["updated"] == 1
    assert (await contacts_of(client, headers))["ada@example.com"]["attributes"] == {"visits": 3, "tags": ["a"]}


@pytest.mark.parametrize(
    ("content", "content_type", "kind"),
    [
        (b"email,city\nada@example.com,Rome\n", "text/csv", "csv"),
        (b"email,city\nada@example.com,Rome\n", "application/gzip", "csv"),
        (b'\n{"email": "ada@example.com", "city": "Rome"}', "application/gzip", "ndjson"),
    ],
)
async def test_files_packed_by_gzip_are_unpacked(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any, content: bytes, content_type: str, kind: str
) -> None:
    done = await finish(await upload(gzip.compress(content), content_type))
    assert (done["status"], done["kind"], done["created"]) == ("completed", kind, 1)
    assert (await contacts_of(client, headers))["ada@example.com"]["attributes"] == {"city": "Rome"}


async def test_a_gzip_bomb_or_a_broken_gzip_is_refused_and_nothing_is_kept(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    container.receiving_imports._max_unpacked_bytes = 2 * 1024 * 1024
    bomb = gzip.compress(b"email\n" + b"a@example.com\n" * 4_000_000, compresslevel=1)
    assert len(bomb) < container.settings.import_max_bytes
    cut = gzip.compress(b"email\n" + os.urandom(400_000).hex().encode())[:-20_000]
    for content, status, code in ((bomb, 413, "body_too_large"), (cut, 422, "unreadable_file")):
        answer = await client.post("/v1/imports", content=content, headers={**headers, "Content-Type": "text/csv"})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await stored_pieces(container, organisation_id) == 0
    assert (await client.get("/v1/imports", headers=headers)).json()["items"] == []


async def test_columns_are_mapped_as_the_preview_suggests(
    client: httpx.AsyncClient, headers: Any, upload: Upload, finish: Any
) -> None:
    content = "E-Mail-Adresse\x1fVorname\x1fNotiz\nada@example.com\x1fAda\x1fgeheim\n".encode("utf-16")
    path = "/v1/imports/preview"
    answer = await client.post(
        path, content=content, params={"delimiter": "\x1f"}, headers={**headers, "Content-Type": "text/csv"}
    )
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["columns"][1] == {"name": "Vorname", "suggested": "first_name", "samples": ["Ada"]}
    assert preview["mapping"] == {"E-Mail-Adresse": "email", "Vorname": "first_name", "Notiz": "notiz"}
    mapping = json.dumps(preview["mapping"] | {"Notiz": None})
    done = await finish(await upload(content, mapping=mapping, delimiter="\x1f"))
    assert (done["created"], done["columns"], done["mapping"]) == (1, ["email", "first_name"], json.loads(mapping))
    contact = (await contacts_of(client, headers))["ada@example.com"]
    assert (contact["first_name"], contact["attributes"]) == ("Ada", {})


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"mapping": "[]"}, "invalid_mapping"),
        ({"mapping": '{"email": "a b"}'}, "invalid_mapping"),
        ({"mapping": '{"nobody": "email"}'}, "unknown_column"),
        ({"delimiter": '"'}, "invalid_request"),
        ({"delimiter": "a"}, "invalid_request"),
        ({"lift_reason": "x"}, "invalid_request"),
    ],
)
async def test_wrong_wishes_are_told(client: httpx.AsyncClient, headers: Any, params: Json, code: str) -> None:
    answer = await client.post(
        "/v1/imports", content=b"email\na@x.org\n", params=params, headers={**headers, "Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
