"""`/health/live` checks nothing; `/health/ready` asks the service's own dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

Check = Callable[[], Awaitable[Any]]
_CHECK_SECONDS = 3.0


def health_router(service: str, checks: Mapping[str, Check]) -> APIRouter:
    """Return the health routes. A check that raises or takes over 3 s makes the service not ready."""
    router = APIRouter(tags=["health"], include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"service": service, "status": "ok"}

    @router.get("/health/ready")
    async def ready(request: Request) -> JSONResponse:
        results = dict(zip(checks, await asyncio.gather(*(_run(check) for check in checks.values())), strict=True))
        if getattr(request.app.state, "draining", False):
            results["shutdown"] = "draining"
        healthy = all(result == "ok" for result in results.values())
        return JSONResponse(
            {"service": service, "status": "ok" if healthy else "unavailable", "checks": results},
            status_code=200 if healthy else 503,
        )

    return router


async def _run(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001  whatever is wrong with a dependency is the answer, by its kind only
        return type(error).__name__
    return "ok"
