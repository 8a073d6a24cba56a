"""Whatever a file is like, however it is cut, wherever a worker dies: what was written out comes back, once."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import io
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthorn_campaigns.app.importing import Importing
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.imports import ChunkOfRows, Import

pytestmark = pytest.mark.integration

_LATIN = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="".join(map(chr, range(0x7F, 0xA1))))
_ANY = st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Co", "Cn"))
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
_DELIMITERS = st.sampled_from(",;\t|:/@=~#\x1f^")
_BREAKS = st.sampled_from(["", "\n", "\r\n"])


_File = tuple[dict[str, dict[str, str]], bytes, str, dict[str, str]]


@st.composite
def _files(draw: st.DrawFn) -> _File:
    """What contacts say by address, a file of it, its content type and how it is uploaded."""
    encoding, delimiter = draw(_ENCODINGS), draw(_DELIMITERS)
    text = st.text(_LATIN if encoding == "latin-1" else _ANY, max_size=12)
    # Line breaks within values, and spaces at their ends, which say nothing.
    value = st.builds(lambda begin, line, end: (begin + line + end).strip(), text, _BREAKS, text)
    contacts = {
        f"reader{number}@example.com": {"first_name": draw(text).strip(), "city": draw(value), "note": draw(value)}
        for number in range(draw(st.integers(1, 25)))
    }
    if draw(st.booleans()):
        lines = (
            json.dumps({"email": email, **said}, ensure_ascii=draw(st.booleans())) for email, said in contacts.items()
        )
        return contacts, "\n".join(lines).encode(), "application/x-ndjson", {}
    written = io.StringIO(newline="")
    rows = csv.writer(
        written,
        delimiter=delimiter,
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    rows.writerow(["email", "first_name", "city", "note"])
    rows.writerows([email, *said.values()] for email, said in contacts.items())
    content = written.getvalue().encode(encoding)
    charset = "; charset=iso-8859-1" if encoding == "latin-1" else ""
    return contacts, content, f"text/csv{charset}", {"delimiter": delimiter}


class _Dies(Exception):
    """What a process does not do, but as sudden: nothing of the transaction is committed."""


class _Mortal(Importing):
    """A worker of small chunks that dies within the transaction of the one after `chunks_left`."""

    chunks_left: int

    async def _take_in(self, job: Import, chunk: ChunkOfRows) -> Import | None:
        if not self.chunks_left:
            async with self._new_unit_of_work() as uow:
                await uow.imports.take_in(job, chunk, self._clock.now())
                raise _Dies
        self.chunks_left -= 1
        return await super()._take_in(job, chunk)


def _mortal(importing: Importing, chunks: int, chunk_rows: int) -> Importing:
    worker = object.__new__(_Mortal)
    worker.__dict__.update(importing.__dict__)
    worker.chunks_left, worker._chunk_rows = chunks, chunk_rows
    return worker


async def _die_and_import(container: Container, import_id: UUID, lives: list[int], chunk_rows: int) -> None:
    for chunks in lives:
        with contextlib.suppress(_Dies):
            await _mortal(container.importing, chunks, chunk_rows).work_on(import_id, stop=asyncio.Event())
        async with container.engine.begin() as connection:
            await connection.execute(sa.text("UPDATE imports SET lease_until = NULL WHERE id = :id"), {"id": import_id})
    await _mortal(container.importing, -1, chunk_rows).work_on(import_id, stop=asyncio.Event())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    file=_files(),
    packed=st.booleans(),
    chunk_rows=st.integers(1, 7),
    lives=st.lists(st.integers(0, 4), max_size=3),
)
async def test_what_was_written_out_comes_back_once_wherever_workers_die(
    client: httpx.AsyncClient,
    container: Container,
    sign_in: Any,
    file: _File,
    packed: bool,
    chunk_rows: int,
    lives: list[int],
) -> None:
    contacts, content, content_type, params = file
    headers = sign_in()
    answer = await client.post(
        "/v1/imports",
        params=params,
        content=gzip.compress(content) if packed else content,
        headers={**headers, "Content-Type": content_type},
    )
    assert answer.status_code == 202, answer.text
    await _die_and_import(container, UUID(answer.json()["id"]), lives, chunk_rows)
    job = (await client.get(f"/v1/imports/{answer.json()['id']}", headers=headers)).json()
    counts = {name: job[name] for name in ("status", "rows_read", "created", "updated", "unchanged", "rejected")}
    assert counts == {
        "status": "completed",
        "rows_read": len(contacts),
        "created": len(contacts),
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
    }
    found = (await client.get("/v1/contacts?limit=500", headers=headers)).json()["items"]
    assert {item["email"]: {"first_name": item["first_name"], **item["attributes"]} for item in found} == {
        email: {name: value for name, value in said.items() if value or name == "first_name"}
        for email, said in contacts.items()
    }
