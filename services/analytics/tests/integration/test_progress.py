"""The event stream of a campaign's progress, through a real uvicorn server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from httpx_sse import ServerSentEvent, aconnect_sse

from posthorn_analytics.app import watching
from posthorn_analytics.bootstrap import Container, bootstrap
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_common.clock import SystemClock, new_id
from posthorn_contracts.campaigns.v1 import CampaignCancelled, CampaignPaused
from posthorn_local.ports import free_ports

from .support import NOON, Letter, eventually, handle, record

pytestmark = pytest.mark.integration


@pytest.fixture
def letter(organisation_id: UUID) -> Letter:
    """A campaign on today's clock: streams look at when it ended."""
    return Letter(organisation_id)


def _now(letter: Letter) -> float:
    """Return the present as a minute on the letter's clock."""
    return (SystemClock().now() - NOON).total_seconds() / 60


@pytest_asyncio.fixture
async def http(
    container: Container, serve: Callable[..., Any], reader: dict[str, str]
) -> AsyncGenerator[httpx.AsyncClient]:
    """A signed-in reader of a service that listens for signals."""
    port = free_ports(1)[0]
    stop = asyncio.Event()
    listening = asyncio.create_task(container.signal.listen(stop))
    async with (
        serve(build_app(container), port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader, trust_env=False, timeout=60) as client,
    ):
        yield client
    stop.set()
    await listening


class Stream:
    """What a watcher has seen so far."""

    def __init__(self) -> None:
        self.events: list[ServerSentEvent] = []
        self.ended = False
        self.headers: httpx.Headers = httpx.Headers()

    async def follow(self, http: httpx.AsyncClient, campaign_id: UUID) -> None:
        """Watch until the stream ends."""
        path = f"/v1/campaigns/{campaign_id}/progress"
        async with aconnect_sse(http, "GET", path) as source:
            assert source.response.status_code == 200
            self.headers = source.response.headers
            async for event in source.aiter_sse():
                self.events.append(event)
        self.ended = True

    @property
    def progress(self) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.events if event.event == "progress"]

    @property
    def last(self) -> dict[str, Any]:
        return self.progress[-1] if self.progress else {}


async def test_a_stream_follows_a_campaign_to_its_end(
    container: Container, http: httpx.AsyncClient, letter: Letter
) -> None:
    minute = _now(letter)
    await handle(container, letter.scheduled(minute - 1))
    stream = Stream()
    following = asyncio.create_task(stream.follow(http, letter.campaign_id))
    await eventually(lambda: stream.last.get("status") == "scheduled")
    assert stream.last["audience"] == stream.last["sent"] == 0
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")

    await handle(container, letter.started(minute), letter.planned(20, minute))
    for _ in range(4):
        await handle(container, letter.recorded(*(record(new_id(), "sent") for _ in range(5))))
        await asyncio.sleep(0.1)
    await eventually(lambda: stream.last["sent"] == 20)
    assert not following.done(), "the campaign is not over before it says so"
    await handle(container, letter.completed(minute))
    await following
    sent = [now["sent"] for now in stream.progress]
    assert sent == sorted(sent)
    assert (stream.last["sent"], stream.last["status"], stream.events[-1].event) == (20, "completed", "end")
    assert any(now["rate_per_second"] > 0 for now in stream.progress)


async def test_a_completed_campaign_is_waited_for_until_its_outcomes_have_come(
    container: Container, http: httpx.AsyncClient, letter: Letter
) -> None:
    minute = _now(letter)
    await handle(container, letter.started(minute), letter.completed(minute))
    stream = Stream()
    following = asyncio.create_task(stream.follow(http, letter.campaign_id))
    await eventually(lambda: stream.last.get("status") == "completed")
    await handle(container, letter.recorded(record(new_id(), "sent"), record(new_id(), "suppressed")))
    await eventually(lambda: stream.last["sent"] == 1)
    assert not following.done(), "how many there are is not known yet"
    await handle(container, letter.planned(2, minute))
    await following
    assert (stream.last["sent"], stream.last["suppressed"], stream.events[-1].event) == (1, 1, "end")


async def test_a_stream_ends_although_outcomes_are_missing_when_they_have_had_their_time(
    settings: Any, container: Container, letter: Letter, serve: Any, reader: dict[str, str], mint: Any
) -> None:
    minute = _now(letter)
    await handle(container, letter.started(minute), letter.planned(5, minute), letter.completed(minute))
    impatient = settings.model_copy(update={"progress_grace_seconds": 1.0})
    port = free_ports(1)[0]
    async with bootstrap(impatient) as process:
        app = build_app(process)
        app.state.identity = mint.identity("analytics")
        async with serve(app, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader) as http:
            stream = Stream()
            await stream.follow(http, letter.campaign_id)
    assert (stream.last["sent"], stream.events[-1].event) == (0, "end")


@pytest.mark.parametrize("how", ["cancelled before its start", "could not be started", "long over"])
async def test_a_campaign_that_is_over_is_told_once(
    container: Container, http: httpx.AsyncClient, letter: Letter, how: str
) -> None:
    minute = _now(letter)
    if how == "cancelled before its start":
        events = [letter.scheduled(minute), letter.changed(CampaignCancelled, minute)]
    elif how == "could not be started":
        events = [letter.scheduled(minute), letter.completed(minute, status="failed")]
    else:
        events = [letter.started(), letter.planned(3), letter.completed()]
    await handle(container, *events)
    stream = Stream()
    await stream.follow(http, letter.campaign_id)
    assert [event.event for event in stream.events] == ["progress", "end"]


async def test_changes_come_fast_and_at_most_four_times_a_second(
    container: Container, http: httpx.AsyncClient, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without polling: what comes has been signalled.
    monkeypatch.setattr(watching, "_POLL_SECONDS", 3600.0)
    minute = _now(letter)
    await handle(container, letter.started(minute), letter.planned(1000, minute))
    stream = Stream()
    following = asyncio.create_task(stream.follow(http, letter.campaign_id))
    await eventually(lambda: stream.progress)
    started = time.monotonic()
    for _ in range(40):
        await handle(container, letter.recorded(record(new_id(), "sent")))
        await asyncio.sleep(0.02)
    await eventually(lambda: stream.last["sent"] == 40)
    seconds = time.monotonic() - started
    assert len(stream.progress) <= 2 + seconds / 0.25
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_without_signals_a_stream_polls(
    container: Container, letter: Letter, serve: Any, reader: dict[str, str]
) -> None:
    port = free_ports(1)[0]
    async with (
        serve(build_app(container), port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader, trust_env=False) as http,
    ):
        await handle(container, letter.started(_now(letter)))
        stream = Stream()
        following = asyncio.create_task(stream.follow(http, letter.campaign_id))
        await eventually(lambda: stream.progress)
        await handle(container, letter.changed(CampaignPaused, _now(letter)))
        await eventually(lambda: stream.last["status"] == "paused")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_notice_says_what_is_wrong(container: Container, http: httpx.AsyncClient, letter: Letter) -> None:
    minute = _now(letter)
    await handle(container, letter.started(minute), letter.impeded(minute))
    stream = Stream()
    following = asyncio.create_task(stream.follow(http, letter.campaign_id))
    await eventually(lambda: stream.last.get("notice") == "Relay main refuses connections")
    await handle(container, letter.recovered(_now(letter)))
    await eventually(lambda: stream.last["notice"] is None)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_quiet_stream_has_a_heartbeat(
    container: Container, http: httpx.AsyncClient, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_HEARTBEAT_SECONDS", 0.5)
    await handle(container, letter.started(_now(letter)))
    comments = 0
    async with http.stream("GET", f"/v1/campaigns/{letter.campaign_id}/progress") as response:
        async for line in response.aiter_lines():
            comments += line.startswith(":")
            if comments == 2:
                break
    assert comments == 2


async def test_who_hangs_up_leaves_nothing_behind(
    container: Container, http: httpx.AsyncClient, letter: Letter
) -> None:
    await handle(container, letter.started(_now(letter)))
    streams = [Stream() for _ in range(5)]
    following = [asyncio.create_task(stream.follow(http, letter.campaign_id)) for stream in streams]
    await eventually(lambda: container.watching.open_streams == 5 and all(stream.progress for stream in streams))
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await eventually(lambda: container.watching.open_streams == 0)


async def test_two_hundred_watchers_of_a_campaign_share_one_reader(
    container: Container, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    state = container.statistics.state

    async def counted(organisation_id: UUID, campaign_id: UUID) -> Any:
        nonlocal reads
        reads += 1
        return await state(organisation_id, campaign_id)

    monkeypatch.setattr(container.statistics, "state", counted)
    await handle(container, letter.started(_now(letter)), letter.planned(1, _now(letter)))
    told, ended = 0, 0

    async def watch() -> None:
        nonlocal told, ended
        async for moment in container.watching.watch(letter.organisation_id, letter.campaign_id, lambda: False):
            told += 1
            ended += isinstance(moment, watching.End)

    started = time.monotonic()
    watchers = [asyncio.create_task(watch()) for _ in range(200)]
    await eventually(lambda: told == 200)
    await asyncio.sleep(2)
    await handle(container, letter.recorded(record(new_id(), "sent")), letter.completed(_now(letter)))
    await asyncio.gather(*watchers)
    assert ended == 200
    assert reads <= 2 + (time.monotonic() - started) / 0.25
    assert container.watching.open_streams == 0


async def test_watchers_hear_of_a_reader_that_breaks(
    container: Container, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await handle(container, letter.started(_now(letter)))
    moments = container.watching.watch(letter.organisation_id, letter.campaign_id, lambda: False)
    await anext(moments)

    async def broken(*_ids: UUID) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(container.statistics, "state", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        await anext(moments)
    assert container.watching.open_streams == 0


async def test_a_service_that_stops_ends_its_streams_at_once(
    container: Container, letter: Letter, serve: Any, reader: dict[str, str]
) -> None:
    await handle(container, letter.started(_now(letter)))
    port = free_ports(1)[0]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader, trust_env=False) as http:
        stream = Stream()
        async with serve(build_app(container), port):
            following = asyncio.create_task(stream.follow(http, letter.campaign_id))
            await eventually(lambda: stream.progress)
        await following
    assert stream.ended, "the answer is complete; uvicorn would have broken it off after ten seconds"
    assert "end" not in [event.event for event in stream.events], "the watcher connects again, elsewhere"


async def test_streams_are_limited(
    settings: Any, container: Container, letter: Letter, serve: Any, reader: Any, mint: Any
) -> None:
    await handle(container, letter.started(_now(letter)))
    port = free_ports(1)[0]
    async with bootstrap(settings.model_copy(update={"max_progress_streams": 1})) as process:
        app = build_app(process)
        app.state.identity = mint.identity("analytics")
        async with serve(app, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader) as http:
            stream = Stream()
            following = asyncio.create_task(stream.follow(http, letter.campaign_id))
            await eventually(lambda: stream.progress)
            answer = await http.get(f"/v1/campaigns/{letter.campaign_id}/progress")
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_a_stream_outlives_an_outage_of_the_database(
    settings: Any, container: Container, letter: Letter, serve: Any, reader: dict[str, str], mint: Any, proxy_to: Any
) -> None:
    url = settings.database_url.get_secret_value()
    database = await proxy_to(int(url.rsplit(":", 1)[1].split("/")[0]))
    proxied = type(settings.database_url)(f"{url.rsplit(':', 1)[0]}:{database.port}/{url.rsplit('/', 1)[1]}")
    await handle(container, letter.started(_now(letter)), letter.planned(1, _now(letter)))
    port = free_ports(1)[0]
    async with bootstrap(settings.model_copy(update={"database_url": proxied})) as process:
        app = build_app(process)
        app.state.identity = mint.identity("analytics")
        async with serve(app, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=reader) as http:
            stream = Stream()
            following = asyncio.create_task(stream.follow(http, letter.campaign_id))
            await eventually(lambda: stream.progress)
            await database.cut()
            await asyncio.sleep(1.5)
            await handle(container, letter.recorded(record(new_id(), "sent")), letter.completed(_now(letter)))
            await database.mend()
            await following
    assert (stream.last["sent"], stream.events[-1].event) == (1, "end")
