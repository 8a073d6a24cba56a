"""Workers that die, race, stop and start anew; Redis that forgets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.app.importing import Importing
from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.domain.imports import MAX_FRUITLESS_LEASES, ChunkOfRows
from posthorn_campaigns.entrypoints.jobs import run_import_jobs
from posthorn_campaigns.settings import Settings
from posthorn_common.errors import TransientError

pytestmark = pytest.mark.integration

Json = dict[str, Any]
NEVER = asyncio.Event
ROWS = 30_000
ENDED = {"completed", "failed", "cancelled"}


async def _rows(numbers: range) -> AsyncIterator[bytes]:
    yield b"email,first_name,city\n"
    for begin in range(0, len(numbers), 1000):
        yield b"".join(b"user%d@example.com,Ann,Lisbon\n" % number for number in numbers[begin : begin + 1000])


Upload = Callable[..., Awaitable[Json]]
Look = Callable[[Json], Awaitable[Json]]


@pytest.fixture
def upload(client: httpx.AsyncClient, headers: Any) -> Upload:
    async def call(rows: int | range = ROWS, **params: str) -> Json:
        numbers = range(rows) if isinstance(rows, int) else rows
        answer = await client.post(
            "/v1/imports", content=_rows(numbers), params=params, headers={**headers, "Content-Type": "text/csv"}
        )
        assert answer.status_code == 202, answer.text
        document: Json = answer.json()
        return document

    return call


@pytest.fixture
def look(client: httpx.AsyncClient, headers: Any) -> Look:
    async def call(job: Json) -> Json:
        document: Json = (await client.get(f"/v1/imports/{job['id']}", headers=headers)).json()
        return document

    return call


def _assert_all_created_once(job: Json, rows: int = ROWS) -> None:
    counts = [job[name] for name in ("rows_read", "created", "updated", "unchanged", "rejected")]
    assert (job["status"], counts) == ("completed", [rows, rows, 0, 0, 0])


async def _let_the_lease_end(container: Container, job: Json) -> None:
    async with container.engine.begin() as connection:
        past = sa.text("UPDATE imports SET lease_until = now() - interval '1 second' WHERE id = :id")
        await connection.execute(past, {"id": UUID(job["id"])})


@contextlib.asynccontextmanager
async def _worker_process(settings: Settings) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A real worker of its own, which nothing but a signal ends."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    environment = {
        f"POSTHORN_CAMPAIGNS_{name.upper()}": str(getattr(value, "get_secret_value", lambda value=value: value)())
        for name, value in values.items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from posthorn_campaigns.entrypoints.cli import main; main()",
        "run",
        "--roles",
        "worker",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_killed_worker_is_taken_over_at_the_last_chunk(
    container: Container, settings: Settings, upload: Upload, look: Look, eventually: Any
) -> None:
    job = await upload(40_000)
    async with _worker_process(settings) as process:
        await eventually(lambda: look(job), lambda now: now["rows_read"] > 0)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    left = await look(job)
    assert left["status"] == "running"
    assert 0 < left["rows_read"] < 40_000
    assert left["rows_read"] % settings.import_chunk_rows == 0
    await container.importing.work_on(UUID(job["id"]), stop=NEVER())
    assert await look(job) == left, "until the lease ends the import is the dead worker's"
    await _let_the_lease_end(container, job)
    while (await look(job))["status"] == "running":
        await container.importing.work_on(UUID(job["id"]), stop=NEVER())
    _assert_all_created_once(await look(job), 40_000)


async def test_two_workers_race_one_import_and_one_does_it(
    container: Container, settings: Settings, upload: Upload, look: Look
) -> None:
    job = await upload()
    async with bootstrap(settings) as second:
        await asyncio.gather(
            *(each.importing.work_on(UUID(job["id"]), stop=NEVER()) for each in (container, second) for _ in range(3))
        )
    _assert_all_created_once(await look(job))


async def test_a_worker_that_was_frozen_past_its_lease_changes_nothing_more(
    container: Container, upload: Upload, look: Look
) -> None:
    job = await upload()
    import_id = UUID(job["id"])
    frozen = _slowed(container.importing)
    task = asyncio.create_task(frozen.work_on(import_id, stop=NEVER()))
    await frozen.second_chunk.wait()
    await _let_the_lease_end(container, job)
    await container.importing.work_on(import_id, stop=NEVER())
    _assert_all_created_once(await look(job))
    frozen.go_on.set()
    await task
    _assert_all_created_once(await look(job))


async def test_cancel_ends_an_import_between_chunks(
    client: httpx.AsyncClient, headers: Any, container: Container, upload: Upload, look: Look
) -> None:
    job = await upload()
    slow = _slowed(container.importing)
    task = asyncio.create_task(slow.work_on(UUID(job["id"]), stop=NEVER()))
    await slow.second_chunk.wait()
    path = f"/v1/imports/{job['id']}/actions/cancel"
    for _ in range(2):
        answer = await client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    slow.go_on.set()
    await task
    ended = await look(job)
    assert (ended["status"], ended["created"]) == ("cancelled", container.settings.import_chunk_rows)
    await container.importing.work_on(UUID(job["id"]), stop=NEVER())
    assert await look(job) == ended


async def test_a_finished_import_cannot_be_cancelled(
    client: httpx.AsyncClient, headers: Any, container: Container, upload: Upload
) -> None:
    job = await upload(1000)
    await container.importing.work_on(UUID(job["id"]), stop=NEVER())
    answer = await client.post(f"/v1/imports/{job['id']}/actions/cancel", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")


async def test_an_import_whose_list_is_deleted_fails_and_says_so(
    client: httpx.AsyncClient, headers: Any, container: Container, upload: Upload, look: Look
) -> None:
    list_id = (await client.post("/v1/lists", json={"name": "Gone soon"}, headers=headers)).json()["id"]
    job = await upload(list_id=list_id)
    slow = _slowed(container.importing)
    task = asyncio.create_task(slow.work_on(UUID(job["id"]), stop=NEVER()))
    await slow.second_chunk.wait()
    assert (await client.delete(f"/v1/lists/{list_id}", headers=headers)).status_code == 204
    slow.go_on.set()
    await task
    ended = await look(job)
    assert (ended["status"], ended["error_code"], ended["list_id"]) == ("failed", "list_not_found", list_id)
    assert ended["error"] is not None


async def test_a_worker_that_stops_gives_its_import_back_at_once(
    container: Container, upload: Upload, look: Look
) -> None:
    job = await upload()
    stop = asyncio.Event()
    stop.set()
    for _ in range(3):
        await container.importing.work_on(UUID(job["id"]), stop=stop)
    assert (await look(job))["rows_read"] == 3 * container.settings.import_chunk_rows
    await container.importing.work_on(UUID(job["id"]), stop=NEVER())
    _assert_all_created_once(await look(job))


async def test_rows_that_kill_every_worker_end_the_import_after_some_tries(
    container: Container, upload: Upload, look: Look
) -> None:
    job = await upload(1000)
    import_id = UUID(job["id"])
    for _ in range(MAX_FRUITLESS_LEASES):
        async with container.importing._new_unit_of_work() as uow:
            assert await uow.imports.lease(import_id, 60) is not None
        await _let_the_lease_end(container, job)
    await container.importing.work_on(import_id, stop=NEVER())
    ended = await look(job)
    assert (ended["status"], ended["error_code"]) == ("failed", "import_not_processable")


@contextlib.asynccontextmanager
async def _working(container: Container) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_import_jobs(container, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_a_worker_is_woken_by_the_upload(
    container: Container, upload: Upload, look: Look, eventually: Any
) -> None:
    async with _working(container):
        job = await upload(2000)
        _assert_all_created_once(await eventually(lambda: look(job), lambda now: now["status"] in ENDED), 2000)


async def test_an_emptied_redis_loses_no_import(
    container: Container, upload: Upload, look: Look, eventually: Any
) -> None:
    waiting = await upload(range(ROWS, ROWS + 2000))
    await container.redis.flushdb()
    async with _working(container):
        at_work = await upload()
        await eventually(lambda: look(at_work), lambda now: now["rows_read"] > 0)
        await container.redis.flushdb()

        async def all_ended() -> bool:
            await container.importing.ring_for_due_imports()
            return {(await look(job))["status"] for job in (waiting, at_work)} == {"completed"}

        await eventually(all_ended)
    _assert_all_created_once(await look(waiting), 2000)


async def test_an_upload_succeeds_while_redis_is_away(
    container: Container, upload: Upload, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise TransientError("Redis is away")

    with monkeypatch.context() as patch:
        patch.setattr(container.receiving_imports._bell, "ring", away)
        job = await upload(1000)
    assert job["status"] == "pending"
    async with container.importing._new_unit_of_work() as uow:
        assert UUID(job["id"]) in {import_id for import_id, _ in await uow.imports.due()}


async def test_two_imports_of_one_organisation_do_not_lock_each_other_out(
    client: httpx.AsyncClient, headers: Any, container: Container, settings: Settings, upload: Upload, look: Look
) -> None:
    list_id = (await client.post("/v1/lists", json={"name": "Both"}, headers=headers)).json()["id"]
    orders = (range(5000), range(4999, -1, -1), range(5000))
    jobs = [await upload(order, list_id=list_id) for order in orders]
    async with bootstrap(settings) as second:
        await asyncio.gather(
            *(
                each.importing.work_on(UUID(job["id"]), stop=NEVER())
                for each, job in zip((container, second, container), jobs, strict=True)
            )
        )
    ended = [await look(job) for job in jobs]
    assert [job["status"] for job in ended] == ["completed"] * 3
    assert sum(job["created"] for job in ended) == 5000
    assert (await client.get(f"/v1/lists/{list_id}", headers=headers)).json()["contact_count"] == 5000


class _Slowed(Importing):
    """Holds before its second chunk until `go_on` is set, as a frozen process would."""

    second_chunk: asyncio.Event
    go_on: asyncio.Event

    async def _take_in(self, job: Any, chunk: ChunkOfRows) -> Any:
        if job.rows_read:
            self.second_chunk.set()
            await self.go_on.wait()
        return await super()._take_in(job, chunk)


def _slowed(importing: Importing) -> _Slowed:
    slow = object.__new__(_Slowed)
    slow.__dict__.update(importing.__dict__)
    slow.second_chunk = asyncio.Event()
    slow.go_on = asyncio.Event()
    return slow
