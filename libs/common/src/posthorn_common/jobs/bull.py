"""The job queue in Redis or Valkey, by BullMQ: same keys and scripts as in other languages, so its dashboards work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import redis.asyncio as redis
import structlog
from bullmq import Job, Queue, Worker
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from posthorn_common.context import child_traceparent, correlation_id, traceparent
from posthorn_common.errors import TransientError
from posthorn_common.jobs.ports import JobCounts, JobHandler, ReceivedJob
from posthorn_common.loops import run_every, stops_within

log = structlog.get_logger(__name__)

_PROCESSED = Counter("posthorn_jobs_processed_total", "Jobs handled, by outcome.", ["queue", "outcome"])
_SECONDS = Histogram(
    "posthorn_job_seconds",
    "Time a job's handler took.",
    ["queue"],
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
_WAITING = Gauge("posthorn_jobs_waiting", "Jobs that wait for a worker, without delayed ones.", ["queue"])

_COMMAND_SECONDS = 3.0
_LOCK_MILLISECONDS = 30_000
_STALLED_CHECK_MILLISECONDS = 10_000
# A worker that freezes or dies is no fault of the job: it is handed out again as often as it takes.
_MAX_STALLED = 1_000_000
_FAILED_JOBS_KEPT = 1_000
_MEASURE_SECONDS = 10.0
_REDIS_PAUSE_SECONDS = 1.0

_JOB_OPTIONS = {
    "attempts": 1,
    "removeOnComplete": True,
    "removeOnFail": {"count": _FAILED_JOBS_KEPT},
    "stackTraceLimit": 0,
}


class WorkerEnded(Exception):
    """The library's worker returned although nobody asked it to: the process must end, to be started anew."""


class JobFailed(Exception):
    """What BullMQ stores as the reason of a failed job: the kind of the error, nothing that may hold an address."""


class BullJobQueue:
    """See the port JobQueue."""

    def __init__(self, redis_url: str, queue_name: str, *, prefix: str = "posthorn") -> None:
        """No connection is made yet. Keys begin with `<prefix>:<queue_name>:`."""
        self._redis_url = redis_url
        self._name = queue_name
        self._prefix = prefix
        self._client = _client(redis_url, retries=1, timeout_seconds=2.0)
        self._queue = Queue(queue_name, {"connection": self._client, "prefix": prefix})

    async def announce(
        self,
        job_id: str,
        name: str,
        data: Mapping[str, str],
        *,
        delay_seconds: float = 0,
        priority: int | None = None,
    ) -> None:
        """Ring for a worker; see JobQueue.announce."""
        async with _redis_at_hand():
            match await self._queue.getJobState(job_id):
                case "waiting" | "prioritized" | "active":
                    return
                case "delayed" if delay_seconds == 0:
                    # BullMQ raises this for a job that has become due, and perhaps been taken, since it was looked at.
                    with contextlib.suppress(TypeError):
                        await self._queue.backend.promote(job_id)
                    return
                case "delayed":
                    return
            # BullMQ ignores an id it knows, in whatever state: a failed or half-lost job must go first.
            await self._queue.remove(job_id)
            options = {**_JOB_OPTIONS, "jobId": job_id, "delay": round(delay_seconds * 1000)}
            if priority is not None:
                options["priority"] = priority
            context = {"correlation_id": correlation_id(), "traceparent": traceparent()}
            await self._queue.add(name, {"data": dict(data), "context": context}, options)

    async def consume(self, handler: JobHandler, *, concurrency: int, stop: asyncio.Event) -> None:
        """Handle jobs until `stop` is set; see JobQueue.consume.

        Raises WorkerEnded if BullMQ's worker gives up: let it end the process.
        """
        if not await self._redis_answers(stop):
            return
        worker = self._worker(handler, concurrency)
        running = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        measuring = asyncio.create_task(
            run_every(_MEASURE_SECONDS, self._measure, stop=stop, name=f"{self._name}_measure")
        )
        closing: asyncio.Future[None] | None = None
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await running
                raise WorkerEnded(self._name)
            # It swallows cancellation until all handlers have finished, which may be never.
            closing = asyncio.ensure_future(worker.close())
            await asyncio.shield(closing)
            await self._ended(running)
        finally:
            # Cancelled while handlers are at work: their jobs stay locked until the lock ends, then come again.
            await worker.close(force=True)
            for task in (running, stopping, measuring):
                task.cancel()
            await asyncio.gather(running, stopping, measuring, *([closing] if closing else []), return_exceptions=True)

    async def _ended(self, running: asyncio.Task[None]) -> None:
        # Closing takes the connections away: from a worker that is still connecting too, and that one falls over it.
        (error,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(error, Exception):
            log.info("job_worker_closed_at_its_start", queue=self._name, error=type(error).__name__)

    async def pause(self) -> None:
        """Let no worker anywhere take another job. Raises TransientError."""
        async with _redis_at_hand():
            await self._queue.pause()

    async def resume(self) -> None:
        """End a pause. Raises TransientError."""
        async with _redis_at_hand():
            await self._queue.resume()

    async def counts(self) -> JobCounts:
        """Return how many jobs there are. Raises TransientError."""
        async with _redis_at_hand():
            counts = await self._queue.getJobCounts("wait", "paused", "prioritized", "delayed", "active", "failed")
        return JobCounts(
            waiting=counts["wait"] + counts["paused"] + counts["prioritized"],
            delayed=counts["delayed"],
            active=counts["active"],
            failed=counts["failed"],
        )

    async def ping(self) -> None:
        """Raise TransientError unless Redis answers."""
        async with _redis_at_hand():
            await self._client.ping()

    async def close(self) -> None:
        """Close the connection."""
        await self._queue.close()

    async def _redis_answers(self, stop: asyncio.Event) -> bool:
        """Wait for Redis, without which BullMQ's worker cannot start; return False if `stop` is set first."""
        while not stop.is_set():
            try:
                await self.ping()
            except TransientError as error:
                log.warning("jobs_wait_for_redis", queue=self._name, error=str(error))
                await stops_within(stop, _REDIS_PAUSE_SECONDS)
            else:
                return True
        return False

    def _worker(self, handler: JobHandler, concurrency: int) -> Any:
        async def process(job: Job, _token: str) -> None:
            await _handle(self._name, handler, job)

        worker = Worker(
            self._name,
            process,
            {
                "autorun": False,
                "connection": _client(self._redis_url, retries=3, timeout_seconds=30.0),
                "prefix": self._prefix,
                "concurrency": concurrency,
                "lockDuration": _LOCK_MILLISECONDS,
                "stalledInterval": _STALLED_CHECK_MILLISECONDS,
                "maxStalledCount": _MAX_STALLED,
                "runRetryDelay": 1000,
            },
        )
        worker.on("error", self._worker_error)
        return worker

    def _worker_error(self, error: BaseException, *_about: object) -> None:
        log.warning("job_worker_error", queue=self._name, error=type(error).__name__)

    async def _measure(self) -> None:
        _WAITING.labels(self._name).set((await self.counts()).waiting)


async def _handle(queue: str, handler: JobHandler, job: Job) -> None:
    context = job.data["context"]
    outcome = "cancelled"
    started = time.perf_counter()
    with bound_contextvars(
        job_id=job.id,
        correlation_id=context["correlation_id"] or job.id,
        traceparent=child_traceparent(context["traceparent"]),
    ):
        try:
            await handler(ReceivedJob(id=job.id, name=job.name, data=job.data["data"]))
            outcome = "ok"
        except Exception as error:
            outcome = "failed"
            log.exception("job_failed", queue=queue, job=job.name)
            raise JobFailed(type(error).__name__) from None
        finally:
            seconds = time.perf_counter() - started
            _PROCESSED.labels(queue, outcome).inc()
            _SECONDS.labels(queue).observe(seconds)
            log.info("job_processed", queue=queue, job=job.name, outcome=outcome, duration_seconds=round(seconds, 6))


@contextlib.asynccontextmanager
async def _redis_at_hand() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            yield
    except (RedisError, OSError) as error:
        raise TransientError(f"Redis is away: {type(error).__name__}") from error


def _client(redis_url: str, *, retries: int, timeout_seconds: float) -> redis.Redis:
    return redis.Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_connect_timeout=2.0,
        socket_timeout=timeout_seconds,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), retries),
    )
