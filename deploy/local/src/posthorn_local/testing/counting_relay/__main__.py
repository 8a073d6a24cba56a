"""Run the counting relay: `python -m posthorn_local.testing.counting_relay`."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
import uvloop
from aiohttp import web

from posthorn_local.ports import LOOPBACK
from posthorn_local.testing.counting_relay.site import build_site
from posthorn_local.testing.counting_relay.smtp import Tally, serve_smtp


def main(smtp_port: Annotated[int, typer.Option()], http_port: Annotated[int, typer.Option()]) -> None:
    """Count mail until SIGTERM."""
    uvloop.run(_serve(smtp_port, http_port))


async def _serve(smtp_port: int, http_port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    tally = Tally()
    smtp = await serve_smtp(tally, smtp_port)
    site = web.AppRunner(build_site(tally), access_log=None)
    await site.setup()
    await web.TCPSite(site, LOOPBACK, http_port).start()
    await stop.wait()
    smtp.close()
    await site.cleanup()


if __name__ == "__main__":
    typer.run(main)
