"""Runs the roles of a service in one process and one event loop, and ends them gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from fastapi import FastAPI

log = structlog.get_logger(__name__)

# New objects between looks for garbage; Python's own 700 are a fraction of what one event makes.
_NEW_OBJECTS = 10_000


@dataclass(frozen=True, slots=True)
class Role:
    """A long-running part of a service. `run` returns soon after the event is set, having finished its work."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


class RoleEnded(Exception):
    """A role returned although nobody asked it to: the process ends, so that it is started anew."""


async def run_roles(roles: Sequence[Role], *, grace_seconds: float) -> None:
    """Run all roles until SIGTERM or SIGINT; then let each finish, for at most `grace_seconds`.

    A role that raises, or returns by itself, ends the process with that error.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    _spare_the_collector()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(_run(role, stop), name=role.name) for role in roles]
    log.info("service_started", roles=[role.name for role in roles])
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    _done, late = await asyncio.wait(tasks, timeout=grace_seconds)
    for task in late:
        log.warning("role_cancelled", role=task.get_name(), grace_seconds=grace_seconds)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    log.info("service_stopped")
    for result in results:
        if isinstance(result, Exception):
            raise result


def _spare_the_collector() -> None:
    """Leave what start-up has made out of every later look for garbage, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


async def _run(role: Role, stop: asyncio.Event) -> None:
    await role.run(stop)
    if not stop.is_set():
        raise RoleEnded(f"role {role.name} ended by itself")


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `run_roles`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def http_role(
    app: FastAPI,
    *,
    host: str,
    port: int,
    drain_seconds: float = 10,
    protocol: type[asyncio.Protocol] | None = None,
    proxy_headers: bool = True,
) -> Role:
    """Return the role that serves `app`; after stop it finishes running requests for at most `drain_seconds`.

    `protocol` is a uvicorn HTTP protocol to use instead of the usual one. Without `proxy_headers` the application sees
    the address that the connection comes from, whatever X-Forwarded-For says.
    """

    async def serve(stop: asyncio.Event) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=int(drain_seconds),
            timeout_keep_alive=65,
            http=protocol or "auto",
            proxy_headers=proxy_headers,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        waiter = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, waiter], return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        app.state.draining = True
        server.should_exit = True
        await serving

    return Role("http", serve)
