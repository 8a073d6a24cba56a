"""`/health/live` checks nothing; `/health/ready` asks the service's own dependencies.

Some a service cannot work without: it is not ready, and gets no requests. Of others it only says that they are away:
with an outbox and a reconciler requests succeed while RabbitMQ or Redis is gone, and must not be kept from the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

Check = Callable[[], Awaitable[Any]]
_CHECK_SECONDS = 3.0


def health_router(service: str, checks: Mapping[str, Check], side_checks: Mapping[str, Check]) -> APIRouter:
    """Return the health routes. One of `checks` that raises or takes over 3 s makes the service not ready.

    One of `side_checks` makes it `degraded`, and ready all the same.
    """
    router = APIRouter(tags=["health"], include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"service": service, "status": "ok"}

    @router.get("/health/ready")
    async def ready(request: Request) -> JSONResponse:
        needed, others = await asyncio.gather(_run_all(checks), _run_all(side_checks))
        if getattr(request.app.state, "draining", False):
            needed["shutdown"] = "draining"
        ready = _all_ok(needed)
        status = "unavailable" if not ready else "ok" if _all_ok(others) else "degraded"
        return JSONResponse(
            {"service": service, "status": status, "checks": {**needed, **others}}, status_code=200 if ready else 503
        )

    return router


async def _run_all(checks: Mapping[str, Check]) -> dict[str, str]:
    results = await asyncio.gather(*(_run(check) for check in checks.values()))
    return dict(zip(checks, results, strict=True))


def _all_ok(results: Mapping[str, str]) -> bool:
    return all(result == "ok" for result in results.values())


async def _run(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001  whatever is wrong with a dependency is the answer, by its kind only
        return type(error).__name__
    return "ok"
