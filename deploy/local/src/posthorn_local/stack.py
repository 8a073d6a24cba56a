"""The whole product on one machine: started, stopped and looked at."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import httpx
import psutil

from posthorn_local.environment import SERVICES, service_url
from posthorn_local.errors import ProcessDied
from posthorn_local.plan import DATABASE, NATIVE, PREFERRED_PORTS, ExternalServers, Plan, listener, service_program
from posthorn_local.ports import LOOPBACK, choose_ports, free_ports
from posthorn_local.provisioning import SCHEMA_OWNERS, provision
from posthorn_local.secrets_file import load_or_create_secrets
from posthorn_local.supervisor import ManagedProcess, exclusive, pid_file, running_process, stop_all

_READY_SECONDS = 180.0
Report = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class ProgramStatus:
    """What `status` says of one program. Memory is with children, and what several processes share counts once."""

    name: str
    state: Literal["running", "died", "stopped"]
    address: str
    pid: int | None = None
    memory_mb: int | None = None


class Stack:
    """A stack with all its state below `folder`. Stacks in different folders do not disturb one another.

    `services` is what runs beside servers and mail catcher; for `settings` and `roles` see Plan.
    """

    def __init__(
        self,
        folder: Path,
        *,
        services: Sequence[str] = SERVICES,
        external: ExternalServers = NATIVE,
        settings: Mapping[str, str] = MappingProxyType({}),
        roles: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self._services = tuple(services)
        self._external = external
        self._settings = settings
        self._roles = roles

    @property
    def plan(self) -> Plan:
        """The stack as it was last started, or would be with its preferred ports."""
        return self._plan(self._known_ports())

    def up(self, report: Report = print) -> Plan:
        """Start what does not run, and wait until all is ready. Raises LocalStackError, ProcessDied.

        What runs stays as it is; services whose surroundings have moved to other ports are restarted.
        """
        with exclusive(self.folder / "stack.lock"):
            plan = self._choose_ports(report)
            self._start_servers(plan, report)
            self._start_services(plan, report)
            return plan

    def down(self, report: Report = print) -> None:
        """Stop everything in order: services finish their work first (30 s), PostgreSQL goes last. Data stay."""
        if not self.folder.exists():
            return
        with exclusive(self.folder / "stack.lock"):
            plan = self.plan
            self._stop_services(report)
            stop_all([plan.mailcatcher])
            for server in (plan.rabbitmq, plan.valkey, plan.postgres):
                if server is not None:
                    server.stop()
            report("everything is stopped")

    def reset(self, report: Report = print) -> None:
        """Stop everything and delete all data, logs, secrets and chosen ports."""
        self.down(report)
        if self.folder.exists():
            shutil.rmtree(self.folder)
            report(f"deleted {self.folder}")

    def status(self) -> list[ProgramStatus]:
        """Return the state of every program of the stack."""
        plan = self.plan
        native = [
            ("postgres", plan.postgres, "postgres"),
            ("valkey", plan.valkey, "valkey"),
            ("rabbitmq", plan.rabbitmq, "rabbitmq"),
        ]
        addresses = {name: f"{LOOPBACK}:{plan.ports[port]}" for name, server, port in native if server is not None}
        addresses["mailcatcher"] = f"{plan.urls['mailcatcher']}, {plan.urls['smtp']}"
        addresses |= {service: service_url(plan.ports, service) for service in self._services}
        addresses |= {process.name: "" for process in self._workers()}
        return [self._program_status(name, address) for name, address in addresses.items()]

    def start_service(self, name: str, instead: ManagedProcess | None = None) -> None:
        """Start a service that has ended, or what tests run `instead` of it; returns when it is ready."""
        plan = self.plan
        process = instead or plan.service(name)
        process.start()
        _wait_ready(process, service_url(plan.ports, name))

    def start_workers(self, count: int) -> list[ManagedProcess]:
        """Start `count` additional mailer processes with the role `worker`; returns when they are ready."""
        plan = self.plan
        first = 1 + max((int(worker.name.rpartition("-")[2]) for worker in self._workers()), default=0)
        ports = free_ports(count)
        workers = [plan.worker(first + index, port) for index, port in enumerate(ports)]
        for worker in workers:
            worker.start()
        for worker, port in zip(workers, ports, strict=True):
            _wait_ready(worker, f"http://{LOOPBACK}:{port}")
        return workers

    def _plan(self, ports: dict[str, int]) -> Plan:
        secrets = load_or_create_secrets(self.folder / "secrets.json")
        return Plan(self.folder, ports, secrets, self._external, self._settings, self._roles)

    @property
    def _record(self) -> Path:
        return self.folder / "stack.json"

    def _known_ports(self) -> dict[str, int]:
        known = json.loads(self._record.read_text())["ports"] if self._record.exists() else {}
        return {**PREFERRED_PORTS, **known}

    def _choose_ports(self, report: Report) -> Plan:
        """Keep the ports of what runs and of last time; replace those that somebody else has taken."""
        known = self._known_ports()
        wanted = {name: port for name, port in known.items() if self._running(listener(name)) is None}
        ports = {**known, **choose_ports(wanted)}
        moved = [name for name in ports if ports[name] != known[name]]
        if moved:
            changes = ", ".join(f"{name} {ports[name]} instead of {known[name]}" for name in moved)
            report(f"some ports are taken, so others are used: {changes}")
            self._stop_services(report)
        plan = self._plan(ports)
        self._record.write_text(json.dumps({"ports": ports, "urls": plan.urls}, indent=2) + "\n")
        return plan

    def _start_servers(self, plan: Plan, report: Report) -> None:
        with ThreadPoolExecutor() as pool:
            starts: dict[str, Future[None]] = {"PostgreSQL": pool.submit(self._start_database, plan)}
            if plan.valkey is not None:
                starts["Valkey"] = pool.submit(_discard, plan.valkey.start)
            starts["mail catcher"] = pool.submit(_start_mailcatcher, plan)
            if plan.rabbitmq is not None:
                starts["RabbitMQ"] = pool.submit(_discard, plan.rabbitmq.start)
            for name, start in starts.items():
                start.result()
                report(f"{name} is ready")

    def _start_database(self, plan: Plan) -> None:
        if plan.postgres is not None:
            plan.postgres.start()
        passwords = {service: plan.secrets.database_password(service) for service in SCHEMA_OWNERS}
        asyncio.run(provision(plan.servers.postgres_admin, database=DATABASE, passwords=passwords))
        behind = [service for service in self._services if service in SCHEMA_OWNERS and not self._running(service)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda service: self._migrate(plan, service), behind))

    def _migrate(self, plan: Plan, service: str) -> None:
        result = subprocess.run(
            [service_program(service), "migrate"],
            check=False,
            env=plan.environment(service),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            raise ProcessDied(f"posthorn-{service} migrate", "failed", result.stdout.splitlines()[-20:])

    def _start_services(self, plan: Plan, report: Report) -> None:
        processes = [plan.service(name) for name in self._services]
        for process in processes:
            process.start()
        for process in processes:
            _wait_ready(process, service_url(plan.ports, process.name))
            report(f"{process.name} is ready")

    def _stop_services(self, report: Report) -> None:
        processes = [*self._workers(), *(self._named(name) for name in reversed(self._services))]
        running = [process for process in processes if process.process() is not None]
        if running:
            report(f"stopping {', '.join(process.name for process in running)}")
        for name in stop_all(processes):
            report(f"{name} did not end within its time and was killed")

    def _workers(self) -> list[ManagedProcess]:
        return [self._named(path.stem) for path in sorted((self.folder / "run").glob("mailer-worker-*.pid"))]

    def _named(self, name: str) -> ManagedProcess:
        """Return a program to stop or look at, which needs no command."""
        return ManagedProcess(name, (), self.folder, {})

    def _running(self, name: str) -> psutil.Process | None:
        return running_process(pid_file(self.folder, name))

    def _program_status(self, name: str, address: str) -> ProgramStatus:
        process = self._running(name)
        if process is None:
            died = pid_file(self.folder, name).exists()
            return ProgramStatus(name, "died" if died else "stopped", address)
        memory = sum(_memory(member) for member in (process, *process.children(recursive=True)))
        return ProgramStatus(name, "running", address, process.pid, memory // 2**20)


def _memory(process: psutil.Process) -> int:
    """Return the bytes that a process takes, with its part of what it shares with others; 0 if it has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:  # of another user, as PostgreSQL is
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _discard(start: Callable[[], bool]) -> None:
    start()


def _start_mailcatcher(plan: Plan) -> None:
    process = plan.mailcatcher
    process.start()
    _wait_ready(process, plan.urls["mailcatcher"])


def _wait_ready(process: ManagedProcess, base_url: str) -> None:
    """Wait until the process itself serves: another stack's may have taken the port meanwhile, and be ready."""
    port = urlsplit(base_url).port
    with httpx.Client(trust_env=False, timeout=10) as client:

        def ready() -> bool:
            try:
                answers = client.get(f"{base_url}/health/ready").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False
            return answers and port in process.listening_ports()

        process.wait_until(ready, seconds=_READY_SECONDS)
