"""Run the mail catcher: `python -m posthorn_local.mailcatcher`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from aiohttp import web

from posthorn_local.mailcatcher.site import build_site
from posthorn_local.mailcatcher.smtp import serve_smtp
from posthorn_local.mailcatcher.store import MessageStore
from posthorn_local.ports import LOOPBACK


def main(
    smtp_port: Annotated[int, typer.Option()],
    http_port: Annotated[int, typer.Option()],
    database: Annotated[Path, typer.Option(help="SQLite file that keeps the messages.")],
) -> None:
    """Catch mail until SIGTERM."""
    uvloop.run(_serve(smtp_port, http_port, database))


async def _serve(smtp_port: int, http_port: int, database: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with MessageStore(database) as store:
        smtp = await serve_smtp(store, smtp_port)
        site = web.AppRunner(build_site(store), access_log=None)
        await site.setup()
        await web.TCPSite(site, LOOPBACK, http_port).start()
        await stop.wait()
        smtp.close()
        await site.cleanup()


if __name__ == "__main__":
    typer.run(main)
