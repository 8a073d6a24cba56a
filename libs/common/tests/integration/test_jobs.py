"""Jobs in a real Valkey: rung once, rung later, and what is left when Valkey is emptied or dies."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
import redis.asyncio as redis
from structlog.contextvars import bound_contextvars, get_contextvars

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_common.jobs import BullJobQueue, UnsafeRedis, WorkerEnded, check_redis, watch_redis

from .support import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def queue(redis_url):
    queue = BullJobQueue(redis_url, f"queue-{new_id().hex[-8:]}")
    yield queue
    await queue.close()


@contextlib.asynccontextmanager
async def working(queue, handler, *, concurrency=4):
    stop = asyncio.Event()
    task = asyncio.create_task(queue.consume(handler, concurrency=concurrency, stop=stop))
    try:
        yield task
    finally:
        stop.set()
        await task


class Recorder:
    def __init__(self) -> None:
        self.jobs = []

    async def __call__(self, job) -> None:
        self.jobs.append(job)

    @property
    def ids(self) -> list[str]:
        return [job.id for job in self.jobs]


async def test_a_job_reaches_a_worker_with_its_data_and_context(queue):
    context = {}

    async def handle(job):
        context.update(get_contextvars())
        recorder.jobs.append(job)

    recorder = Recorder()
    with bound_contextvars(correlation_id="request-7"):
        await queue.announce("batch-1", "send_batch", {"campaign_id": "c"})
    async with working(queue, handle):
        await eventually(lambda: recorder.jobs)
    [job] = recorder.jobs
    assert (job.id, job.name, job.data) == ("batch-1", "send_batch", {"campaign_id": "c"})
    assert (context["job_id"], context["correlation_id"]) == ("batch-1", "request-7")


async def test_a_waiting_job_is_not_added_twice(queue):
    for _ in range(3):
        await queue.announce("once", "work", {})
    assert (await queue.counts()).waiting == 1
    recorder = Recorder()
    async with working(queue, recorder):
        await eventually(lambda: recorder.jobs)
        await queue.announce("after", "work", {})
        await eventually(lambda: "after" in recorder.ids)
    assert recorder.ids == ["once", "after"]


async def test_a_job_that_is_done_can_be_announced_again(queue):
    recorder = Recorder()
    async with working(queue, recorder):
        await queue.announce("again", "work", {})
        await eventually(lambda: recorder.ids == ["again"])
        await eventually(lambda: _idle(queue))
        await queue.announce("again", "work", {})
        await eventually(lambda: recorder.ids == ["again", "again"])


async def test_a_failed_job_is_kept_and_can_be_announced_again(queue):
    attempts = []

    async def fail_first(job):
        attempts.append(job.id)
        if len(attempts) == 1:
            raise ValueError("someone@example.com cannot be sent to")

    async with working(queue, fail_first):
        await queue.announce("fails", "work", {})

        async def failed():
            return (await queue.counts()).failed == 1

        await eventually(failed)
        assert attempts == ["fails"]
        reason = await queue._client.hget(queue._queue.toKey("fails"), "failedReason")
        stack = await queue._client.hget(queue._queue.toKey("fails"), "stacktrace")
        assert (reason, stack) == ("ValueError", "[]")

        await queue.announce("fails", "work", {})
        await eventually(lambda: len(attempts) == 2)
        await eventually(lambda: _idle(queue))
    assert (await queue.counts()).failed == 0


async def test_a_delayed_job_comes_after_its_delay_and_not_before(queue):
    recorder = Recorder()
    async with working(queue, recorder):
        started = time.monotonic()
        await queue.announce("later", "work", {}, delay_seconds=1.5)
        assert (await queue.counts()).delayed == 1
        await eventually(lambda: recorder.jobs)
    assert time.monotonic() - started >= 1.5


async def test_a_delayed_job_announced_without_delay_comes_at_once(queue):
    await queue.announce("soon", "work", {}, delay_seconds=3600)
    await queue.announce("soon", "work", {})
    recorder = Recorder()
    async with working(queue, recorder):
        await eventually(lambda: recorder.ids == ["soon"])


async def test_a_delayed_job_that_becomes_due_while_it_is_announced_comes_once(queue, monkeypatch):
    await queue.announce("due", "work", {}, delay_seconds=3600)
    look = queue._queue.getJobState

    async def state_of_a_moment_ago(job_id):
        state = await look(job_id)
        await queue._queue.backend.promote(job_id)
        return state

    monkeypatch.setattr(queue._queue, "getJobState", state_of_a_moment_ago)
    await queue.announce("due", "work", {})
    recorder = Recorder()
    async with working(queue, recorder):
        await eventually(lambda: recorder.ids == ["due"])


async def test_jobs_of_higher_priority_come_first(queue):
    await queue.announce("low", "work", {}, priority=10)
    await queue.announce("high", "work", {}, priority=1)
    recorder = Recorder()
    async with working(queue, recorder, concurrency=1):
        await eventually(lambda: len(recorder.jobs) == 2)
    assert recorder.ids == ["high", "low"]


async def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(queue, redis_url):
    recorder = Recorder()
    async with working(queue, recorder):
        await queue.pause()
        await queue.announce("held", "work", {})
        await asyncio.sleep(0.5)
        assert recorder.jobs == []
        assert (await queue.counts()).waiting == 1
        await queue.resume()
        await eventually(lambda: recorder.ids == ["held"])


async def test_at_the_end_jobs_at_work_are_finished(queue):
    started, finished = asyncio.Event(), []

    async def slow(job):
        started.set()
        await asyncio.sleep(0.5)
        finished.append(job.id)

    async with working(queue, slow):
        await queue.announce("slow", "work", {})
        await started.wait()
    assert finished == ["slow"]
    assert await _idle(queue)


async def test_a_consumer_may_be_stopped_at_any_moment_of_its_start(queue):
    for moment in range(60):
        stop = asyncio.Event()
        consuming = asyncio.create_task(queue.consume(lambda job: asyncio.sleep(0), concurrency=1, stop=stop))
        await asyncio.sleep(moment / 5000)
        stop.set()
        await consuming


async def test_a_cancelled_worker_leaves_its_job_to_another(queue, monkeypatch):
    monkeypatch.setattr("posthorn_common.jobs.bull._LOCK_MILLISECONDS", 1000)
    monkeypatch.setattr("posthorn_common.jobs.bull._STALLED_CHECK_MILLISECONDS", 500)
    started = asyncio.Event()

    async def hang(_job):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(queue.consume(hang, concurrency=1, stop=asyncio.Event()))
    await queue.announce("orphan", "work", {})
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    recorder = Recorder()
    async with working(queue, recorder):
        await eventually(lambda: recorder.ids == ["orphan"])


async def test_a_consumer_that_waits_in_vain_for_its_jobs_to_finish_can_be_cancelled(queue):
    stop, started, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang(_job):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    consuming = asyncio.create_task(queue.consume(hang, concurrency=1, stop=stop))
    await queue.announce("endless", "work", {})
    await started.wait()
    stop.set()
    done, _pending = await asyncio.wait((consuming,), timeout=0.5)
    assert not done
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    assert consuming.cancelled()
    assert ended.is_set()


async def test_a_worker_goes_on_after_flushall(own_valkey):
    queue = BullJobQueue(own_valkey.url, "flushed")
    recorder = Recorder()
    async with working(queue, recorder), redis.Redis.from_url(own_valkey.url) as client:
        await queue.announce("before", "work", {})
        await eventually(lambda: recorder.ids == ["before"])
        await client.flushall()
        for number in range(10):
            await queue.announce(f"after-{number}", "work", {})
        await eventually(lambda: len(recorder.jobs) == 11)
    await queue.close()


async def test_a_worker_goes_on_after_valkey_was_killed_and_no_job_is_lost(own_valkey):
    queue = BullJobQueue(own_valkey.url, "restarted")
    recorder = Recorder()
    async with working(queue, recorder):
        await queue.announce("before", "work", {})
        await eventually(lambda: recorder.ids == ["before"])
        await queue.pause()
        await queue.announce("kept", "work", {})
        await asyncio.sleep(2)  # the append-only file is written every second
        own_valkey.process.kill()
        with pytest.raises(TransientError):
            await queue.announce("missed", "work", {})
        await asyncio.to_thread(own_valkey.start)
        await queue.resume()
        await eventually(lambda: "kept" in recorder.ids)
        await queue.announce("after", "work", {})
        await eventually(lambda: "after" in recorder.ids)
    await queue.close()


async def test_announcing_to_a_redis_that_is_away_fails_within_seconds():
    queue = BullJobQueue("redis://127.0.0.1:1/0", "nowhere")
    started = time.monotonic()
    with pytest.raises(TransientError):
        await queue.announce("job", "work", {})
    assert time.monotonic() - started < 30
    with pytest.raises(TransientError):
        await queue.ping()
    await queue.close()


async def test_a_worker_that_ends_by_itself_is_an_error(queue, monkeypatch):
    monkeypatch.setattr("bullmq.worker.getCompleted", _broken)
    with pytest.raises(WorkerEnded):
        await queue.consume(Recorder(), concurrency=1, stop=asyncio.Event())


async def _broken(*_arguments):
    raise RuntimeError("a bug")


async def test_a_redis_that_may_lose_jobs_is_refused_in_production_only(own_valkey):
    await check_redis(own_valkey.url, environment="production")
    async with redis.Redis.from_url(own_valkey.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("appendonly", "no")
    await check_redis(own_valkey.url, environment="development")
    with pytest.raises(UnsafeRedis, match=r"maxmemory-policy is allkeys-lru.*appendonly is off"):
        await check_redis(own_valkey.url, environment="production")


async def test_a_redis_that_is_away_is_waited_for_and_an_unsafe_one_ends_the_process(own_valkey, monkeypatch):
    monkeypatch.setattr("posthorn_common.jobs.server._RETRY_SECONDS", 0.05)
    own_valkey.stop()
    stop = asyncio.Event()
    watching = asyncio.create_task(watch_redis(own_valkey.url, environment="production", stop=stop))
    await asyncio.sleep(0.5)
    assert not watching.done()
    own_valkey.start()
    stop.set()
    await watching
    async with redis.Redis.from_url(own_valkey.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(UnsafeRedis):
        await watch_redis(own_valkey.url, environment="production", stop=asyncio.Event())


async def _idle(queue) -> bool:
    counts = await queue.counts()
    return counts.waiting == counts.active == 0


async def test_a_consumer_that_starts_without_redis_waits_for_it_until_it_is_told_to_stop():
    queue = BullJobQueue("redis://127.0.0.1:1/0", "waiting")
    stop = asyncio.Event()
    consuming = asyncio.create_task(queue.consume(lambda job: asyncio.sleep(0), concurrency=1, stop=stop))
    done, _pending = await asyncio.wait((consuming,), timeout=0.5)
    assert not done
    stop.set()
    await consuming
    await queue.close()
