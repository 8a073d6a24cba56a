"""The roles of the campaigns service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.entrypoints.consumers import subscribe
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.entrypoints.jobs import run_export_jobs, run_import_jobs
from posthorn_campaigns.settings import Settings
from posthorn_common.inbox import run_inbox_purge
from posthorn_common.jobs import watch_redis
from posthorn_common.loops import run_every
from posthorn_common.runtime import Role, http_role

ROLES = ("api", "consumer", "worker", "relay", "scheduler")
_START_SECONDS = 1.0
_MAIL_SECONDS = 1.0
_RECONCILE_SECONDS = 5.0
_DISCARD_UPLOADS_SECONDS = 300.0
_PURGE_IMPORTS_SECONDS = 3600.0
_PURGE_EXPORTS_SECONDS = 300.0
_FOLD_COUNTS_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 30.0
_GATHER_SECONDS = 1.0
_BUILD_INDEXES_SECONDS = 5.0


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        roles = [
            http_role(build_app(container, business_routes="api" in wanted), host=settings.host, port=settings.port)
        ]
        if "consumer" in wanted:
            subscribe(
                container.bus,
                container.following_sends,
                container.following_suppressions,
                container.erasing,
                container.unsubscribing,
            )
            roles.append(Role("consumer", container.bus.run))
        if "worker" in wanted:
            roles.append(Role("worker", lambda stop: run_import_jobs(container, stop)))
            roles.append(Role("export_worker", lambda stop: run_export_jobs(container, stop)))
            gather = container.disclosing.work_on_due
            roles.append(
                Role(
                    "access_worker",
                    lambda stop: run_every(_GATHER_SECONDS, gather, stop=stop, name="gather_for_access"),
                )
            )
            redis_url, environment = settings.redis_url.get_secret_value(), settings.environment
            roles.append(Role("redis_watch", lambda stop: watch_redis(redis_url, environment=environment, stop=stop)))
        if "relay" in wanted:
            roles.append(Role("relay", container.relay.run))
        if "scheduler" in wanted:
            roles.append(Role("scheduler", lambda stop: schedule(container, stop)))
        yield roles


async def schedule(container: Container, stop: asyncio.Event) -> None:
    """Run the periodic loops until `stop` is set. Harmless in several processes at once."""
    async with asyncio.TaskGroup() as loops:
        loops.create_task(run_inbox_purge(container.engine, stop))
        loops.create_task(
            run_every(
                _START_SECONDS, container.starting_campaigns.start_due_campaigns, stop=stop, name="start_campaigns"
            )
        )
        loops.create_task(
            run_every(
                _PURGE_IMPORTS_SECONDS, container.following_suppressions.purge, stop=stop, name="purge_suppressions"
            )
        )
        retention = timedelta(days=container.settings.timeline_days)
        loops.create_task(
            run_every(
                _PURGE_IMPORTS_SECONDS,
                lambda: container.managing_contacts.purge_timelines(retention),
                stop=stop,
                name="purge_timelines",
            )
        )
        loops.create_task(
            run_every(_MAIL_SECONDS, container.subscribing.send_due_mails, stop=stop, name="send_confirmations")
        )
        loops.create_task(
            run_every(_RECONCILE_SECONDS, container.importing.ring_for_due_imports, stop=stop, name="ring_for_imports")
        )
        loops.create_task(
            run_every(_RECONCILE_SECONDS, container.exporting.ring_for_due_exports, stop=stop, name="ring_for_exports")
        )
        loops.create_task(
            run_every(
                _PURGE_EXPORTS_SECONDS, container.exporting.purge_expired_exports, stop=stop, name="purge_exports"
            )
        )
        loops.create_task(
            run_every(
                _PURGE_EXPORTS_SECONDS, container.disclosing.purge_expired, stop=stop, name="purge_access_requests"
            )
        )
        loops.create_task(
            run_every(_ASK_AGAIN_SECONDS, container.erasing.ask_again, stop=stop, name="ask_for_erasures_again")
        )
        loops.create_task(
            run_every(
                _BUILD_INDEXES_SECONDS, container.declaring_attributes.build_indexes, stop=stop, name="build_indexes"
            )
        )
        loops.create_task(
            run_every(_FOLD_COUNTS_SECONDS, container.managing_lists.fold_counts, stop=stop, name="fold_list_counts")
        )
        loops.create_task(
            run_every(
                _DISCARD_UPLOADS_SECONDS,
                container.receiving_imports.discard_abandoned_uploads,
                stop=stop,
                name="discard_abandoned_uploads",
            )
        )
        loops.create_task(
            run_every(
                _PURGE_IMPORTS_SECONDS,
                container.receiving_imports.purge_ended_imports,
                stop=stop,
                name="purge_imports",
            )
        )
