"""The HTTP side: what was counted, and what to do wrong."""

from __future__ import annotations

from aiohttp import web

from posthorn_local.testing.counting_relay.faults import Script
from posthorn_local.testing.counting_relay.smtp import Tally


def build_site(tally: Tally) -> web.Application:
    """Return the application."""

    async def ready(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def counts(_request: web.Request) -> web.Response:
        return web.json_response(
            {
                "messages": tally.messages,
                "recipients": len(tally.accepted),
                "repeated": sum(len(ids) - 1 for ids in tally.accepted.values()),
                "connections": len(tally.sessions),
                "first_at": tally.first_at,
                "last_at": tally.last_at,
                "struck": dict(tally.script.struck),
            }
        )

    async def records(_request: web.Request) -> web.Response:
        return web.json_response({"accepted": tally.accepted, "refused": tally.refused})

    async def forget(_request: web.Request) -> web.Response:
        tally.forget()
        return web.Response(status=204)

    async def follow(request: web.Request) -> web.Response:
        try:
            script = Script.parse(await request.json())
        except (TypeError, ValueError) as error:
            return web.json_response({"detail": str(error)}, status=422)
        tally.follow(script)
        return web.Response(status=204)

    site = web.Application()
    site.router.add_get("/health/ready", ready)
    site.router.add_get("/counts", counts)
    site.router.add_get("/records", records)
    site.router.add_delete("/records", forget)
    site.router.add_put("/script", follow)
    return site
