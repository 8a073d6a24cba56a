"""A service of this checkout as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import LOOPBACK, free_ports


class ServiceDied(Exception):
    """A service ended although it was needed; the message ends with its log."""


@dataclass(frozen=True)
class ServiceProcess:
    """A running process of a service."""

    process: asyncio.subprocess.Process
    port: int
    log_file: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def check(self) -> None:
        """Raise ServiceDied if it has ended."""
        if self.process.returncode is not None:
            lines = self.log_file.read_text(errors="replace").splitlines()[-20:]
            raise ServiceDied(f"ended with status {self.process.returncode}:\n" + "\n".join(lines))


@contextlib.asynccontextmanager
async def service_process(
    name: str, environment: Mapping[str, str], *, log_file: Path, program: Sequence[str] | None = None
) -> AsyncGenerator[ServiceProcess]:
    """Run all roles of the service `name` in one process, and end it as SIGTERM does.

    `program` runs instead of `posthorn-<name>`, with the same arguments.
    """
    port = free_ports(1)[0]
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(program or (str(Path(sys.executable).with_name(f"posthorn-{name}")),)),
            *("run", "--port", str(port)),
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    service = ServiceProcess(process, port, log_file)
    try:
        await _until_ready(service)
        yield service
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_ready(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{service.port}") as client:
        while True:
            service.check()
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
