"""The roles of the mailer service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from posthorn_common.inbox import run_inbox_purge
from posthorn_common.jobs import watch_redis
from posthorn_common.loops import run_every, with_advisory_lock
from posthorn_common.runtime import Role, http_role
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.entrypoints.consumers import subscribe
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.entrypoints.jobs import CampaignWorker
from posthorn_mailer.entrypoints.message_worker import run_message_reconciler, run_message_worker
from posthorn_mailer.settings import Settings

ROLES = ("api", "consumer", "worker", "relay", "scheduler")

_PURGE_SECONDS = 3600.0
_LEARN_SECONDS = 1.0
_TELL_SECONDS = 1.0


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        app = build_app(container, business_routes="api" in wanted)
        yield [http_role(app, host=settings.host, port=settings.port), *roles(container, wanted)]


def roles(container: Container, wanted: frozenset[str]) -> list[Role]:
    """Return the wanted roles but `api`."""
    found: list[Role] = []
    if "consumer" in wanted:
        subscribe(container)
        found.append(Role("consumer", container.bus.run))
    if "worker" in wanted:
        found.append(Role("campaign_worker", campaign_worker(container).run))
        found.append(Role("message_worker", lambda stop: run_message_worker(container, stop)))
        found.append(Role("relay_breakers", lambda stop: _learn_of_outages(container, stop)))
        settings = container.settings
        redis_url, environment = settings.redis_url.get_secret_value(), settings.environment
        found.append(Role("redis_watch", lambda stop: watch_redis(redis_url, environment=environment, stop=stop)))
    if "relay" in wanted:
        found.append(Role("relay", container.relay.run))
    if "scheduler" in wanted:
        found.append(Role("scheduler", lambda stop: _schedule(container, stop)))
    return found


def campaign_worker(container: Container) -> CampaignWorker:
    """Return what plans and sends campaigns."""
    return CampaignWorker(
        container.jobs,
        planning=container.planning,
        sending=container.sending,
        controlling=container.controlling,
        concurrency=container.settings.batches_per_worker + 1,  # a place for planning and sweeping
        poll_seconds=container.settings.poll_seconds,
    )


async def _learn_of_outages(container: Container, stop: asyncio.Event) -> None:
    await run_every(_LEARN_SECONDS, container.breakers.refresh, stop=stop, name="relay_breakers")


async def _schedule(container: Container, stop: asyncio.Event) -> None:
    async def reconcile() -> None:
        # One at a time is enough, and safe as more would be.
        async with with_advisory_lock(container.engine, "reconcile_sends") as lock:
            if lock is not None:
                await container.reconciling.reconcile()

    async def tell_suppressions() -> None:
        async with with_advisory_lock(container.engine, "tell_suppressions") as lock:
            if lock is not None:
                await container.suppressing.tell_changes()

    async def retain() -> None:
        async with with_advisory_lock(container.engine, "retain_deliveries") as lock:
            if lock is not None:
                await container.retaining.retain()

    await asyncio.gather(
        run_every(container.settings.reconcile_seconds, reconcile, stop=stop, name="reconcile_sends"),
        run_every(container.settings.retain_seconds, retain, stop=stop, name="retain_deliveries"),
        run_every(_TELL_SECONDS, tell_suppressions, stop=stop, name="tell_suppressions"),
        run_every(_PURGE_SECONDS, container.suppressing.purge_expired, stop=stop, name="purge_suppressions"),
        run_inbox_purge(container.engine, stop),
        run_message_reconciler(container, stop),
    )
