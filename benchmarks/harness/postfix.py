"""Postfix's `smtp-sink` and `smtp-source`, the references for what SMTP costs, from Debian's package.

The package is downloaded and unpacked, never installed: no mail server runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.servers import BENCH_FOLDER
from posthorn_local.ports import LOOPBACK, answers, free_ports

_FOLDER = BENCH_FOLDER / "postfix"
_MOST_SESSIONS = "1000"


class PostfixUnavailable(Exception):
    """The tools cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class SourceResult:
    """What a run of smtp-source has come to."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class PostfixTools:
    """Where the unpacked programs are."""

    folder: Path

    @contextlib.asynccontextmanager
    async def sink(self) -> AsyncGenerator[tuple[int, int]]:
        """Run smtp-sink; provide its port and pid."""
        port = free_ports(1)[0]
        identity = ("-u", "nobody") if os.geteuid() == 0 else ()
        process = await asyncio.create_subprocess_exec(
            self.folder / "usr/sbin/smtp-sink",
            *("-4", *identity, "-m", _MOST_SESSIONS, f"{LOOPBACK}:{port}", "1024"),
            env=self._environment,
        )
        try:
            while not answers(port):
                if process.returncode is not None:
                    raise PostfixUnavailable(f"smtp-sink ended with status {process.returncode}")
                await asyncio.sleep(0.05)
            yield port, process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def source(self, port: int, *, message: Path, messages: int, sessions: int) -> SourceResult:
        """Send a prepared message, given with LF line ends, over and over on connections kept open."""
        options = ("-4", "-d", "-s", str(sessions), "-m", str(messages), "-F", str(message))
        program = self.folder / "usr/sbin/smtp-source"
        before = _children_seconds()
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            program, *options, "-f", "post@example.com", "-t", "reader@example.org", f"{LOOPBACK}:{port}",
            env=self._environment,
        )  # fmt: skip
        if await process.wait() != 0:
            raise PostfixUnavailable(f"smtp-source ended with status {process.returncode}")
        return SourceResult(time.perf_counter() - started, _children_seconds() - before)

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(self.folder / "usr/lib/postfix")}


def postfix_tools() -> PostfixTools:
    """Return the tools, downloaded at first use. Raises PostfixUnavailable."""
    tools = PostfixTools(_FOLDER)
    if not (_FOLDER / "usr/sbin/smtp-sink").exists():
        _unpack()
    return tools


def _unpack() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PostfixUnavailable("this is not Debian: apt-get and dpkg-deb are missing")
    unfinished = _FOLDER.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _run("apt-get", "-o", "APT::Sandbox::User=root", "download", "postfix", folder=unfinished)
    package = next(unfinished.glob("postfix_*.deb"))
    _run("dpkg-deb", "-x", str(package), str(unfinished), folder=unfinished)
    package.unlink()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    unfinished.rename(_FOLDER)


def _run(*command: str, folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise PostfixUnavailable(f"{command[0]} failed: {result.stderr.strip()[-300:]}")


def _children_seconds() -> float:
    """Return the CPU seconds of all children that have ended. No other child may end while one is measured."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
