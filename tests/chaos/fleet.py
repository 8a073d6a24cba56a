"""The product under test: one stack, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx

from posthorn_local.ports import free_ports
from posthorn_local.stack import Stack
from posthorn_local.supervisor import ManagedProcess, stop_all
from posthorn_local.testing import product
from posthorn_local.testing.counting_relay.client import CountingRelay

WORKERS = 3
LEASE_SECONDS = 6
RESEND_SECONDS = 2 * LEASE_SECONDS
RESENDING = {
    "POSTHORN_MAILER_ON_AMBIGUOUS": "resend",
    "POSTHORN_MAILER_RESEND_AFTER_SECONDS": str(RESEND_SECONDS),
}
SETTINGS = {
    "POSTHORN_MAILER_LEASE_SECONDS": str(LEASE_SECONDS),
    "POSTHORN_MAILER_RECONCILE_SECONDS": "2",
    # Small, so that all workers have batches and planning takes a while, however few recipients there are.
    "POSTHORN_MAILER_BATCH_SIZE": "100",
    "POSTHORN_MAILER_AUDIENCE_PAGE_SIZE": "200",
    "POSTHORN_MAILER_RETRY_BASE_SECONDS": "1",
    "POSTHORN_MAILER_RETRY_CAP_SECONDS": "4",
    "POSTHORN_MAILER_OUTAGE_LONGEST_PAUSE_SECONDS": "4",
}
ROLES = {"mailer": "api,consumer,relay,scheduler"}
"""Sending is left to the workers, so that the process with the relay can be killed without them."""

READY_SECONDS = 60.0
"""How long a process may take to be at work, or a service to recover."""

_OPEN_DELIVERIES = re.compile(r"^posthorn_mailer_open_deliveries (\S+)$", re.MULTILINE)


class Fleet:
    """A stack whose mail goes to a counting relay, with workers in processes of their own."""

    def __init__(self, stack: Stack, relay: CountingRelay) -> None:
        self.stack = stack
        self.relay = relay
        self.workers: list[ManagedProcess] = []

    def complete(self, *, workers: int = WORKERS) -> None:
        """Start whatever does not run; `workers` is how many there are to be at least."""
        self.stack.up(lambda _line: None)
        self.workers = self.alive()
        if (missing := workers - len(self.workers)) > 0:
            self.workers += self.stack.start_workers(missing)

    def alive(self) -> list[ManagedProcess]:
        """Return the workers that run and are ready."""
        return [worker for worker in self.workers if worker.process() is not None]

    def service(self, name: str) -> ManagedProcess:
        """Return the process of a service."""
        return self.stack.plan.service(name)

    def odd_worker(self) -> ManagedProcess:
        """Return a worker that is not one of ours yet, for tests to run in their own way (see `through`)."""
        (port,) = free_ports(1)
        return self.stack.plan.worker(0, port)

    def start_odd_worker(self, worker: ManagedProcess, *, others: int) -> None:
        """Run it beside so many others; returns when it is at work."""
        self.complete(workers=others)
        stop_all(self.workers[others:])
        worker.start()
        worker.wait_until(lambda: bool(worker.listening_ports()), seconds=READY_SECONDS)

    async def start_service(self, name: str) -> None:
        """Start a service that was killed."""
        await asyncio.to_thread(self.stack.start_service, name)

    async def start_workers(self) -> None:
        """Replace the workers that have ended."""
        await asyncio.to_thread(self.complete)

    async def busy(self, worker: ManagedProcess) -> None:
        """Wait until a worker has deliveries open."""
        (port,) = worker.listening_ports()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

            async def open_deliveries() -> float:
                return float(_OPEN_DELIVERIES.findall((await http.get("/metrics")).text)[0])

            await product.eventually(open_deliveries, pause=0.005)

    async def restart_mailer(self, settings: Mapping[str, str]) -> None:
        """Start the process that takes orders anew, with other settings; `complete` does not change it back."""
        await asyncio.to_thread(self.service("mailer").stop)
        stack = Stack(self.stack.folder, settings={**SETTINGS, **settings}, roles=ROLES)
        await asyncio.to_thread(stack.start_service, "mailer")

    def signal(self, process: ManagedProcess, number: signal.Signals) -> None:
        """Send a signal to a program that runs."""
        running = process.process()
        assert running is not None
        running.send_signal(number)


def through(
    program: str, service: str, argument: str, like: ManagedProcess, settings: Mapping[str, str] | None = None
) -> ManagedProcess:
    """Return a process in place of the one that it is like, run by a program of this folder, with other settings."""
    command = (sys.executable, "-P", str(Path(__file__).with_name(program)), service, argument, *like.command[1:])
    return replace(like, command=command, environment={**like.environment, **(settings or {})})
