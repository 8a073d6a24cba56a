"""The analytics service's HTTP application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from posthorn_analytics.bootstrap import Container
from posthorn_analytics.domain import errors
from posthorn_analytics.entrypoints.http.routes import exports, internal, progress, statistics, tracking
from posthorn_common.db import ping
from posthorn_common.http.app import AppParts, create_app

_CHECK_SECONDS = 2.0
_STATUSES: dict[type[Exception], int] = {errors.CampaignNotFound: 404, errors.TooManyStreams: 503}


def build_app(container: Container | None, *, business_routes: bool = True) -> FastAPI:
    """Return the application; without a container it can only describe itself."""
    routers = (tracking.router, exports.router, statistics.router, progress.router, internal.router)
    return create_app(
        AppParts(
            service="analytics",
            title="Posthorn analytics",
            description="Opens, clicks, statistics and live progress of campaigns.",
            routers=routers if business_routes else (),
            identity=container.identity if container else None,
            checks=_checks(container, tracks=business_routes) if container else {},
            side_checks={"redis": container.redis.ping, "rabbitmq": container.bus.ping} if container else {},
            error_statuses=_STATUSES,
            state={"container": container},
        )
    )


def _checks(container: Container, *, tracks: bool) -> dict[str, Any]:
    """Return what readiness depends on. Readers' links must work as long as a click can be stored anywhere."""
    if tracks:
        return {"hit_storage": lambda: _any_answers(lambda: ping(container.engine), container.redis.ping)}
    return {"database": lambda: ping(container.engine)}


async def _any_answers(*checks: Callable[[], Awaitable[Any]]) -> None:
    results = await asyncio.gather(*(_within_seconds(check) for check in checks), return_exceptions=True)
    errors_found = [result for result in results if isinstance(result, BaseException)]
    if len(errors_found) == len(checks):
        raise errors_found[0]


async def _within_seconds(check: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(_CHECK_SECONDS):
        await check()
