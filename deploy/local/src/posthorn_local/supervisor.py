"""Programs that outlive the command that started them: pid files, logs, orderly stop.

A supervisor daemon (supervisord) was considered. It would be one more process to keep alive and a second configuration
language, while the stack needs what it lacks: starting in order of readiness, running commands in between (provision,
migrate), no restarts. What is left for us is this one file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from posthorn_local.errors import ProcessDied

_POLL_SECONDS = 0.05
# A process is recognised by pid and start time. The start time is computed from the wall clock, which may be corrected.
_START_TIME_TOLERANCE_SECONDS = 5.0


@dataclass(frozen=True)
class ManagedProcess:
    """One program with its own session, log file and pid file below `folder`.

    `environment` is the whole environment: nothing is inherited.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0

    @property
    def log_file(self) -> Path:
        """Where the program's output goes; appended to by every start."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """JSON with `pid` and `started` of the last start."""
        return pid_file(self.folder, self.name)

    def start(self) -> bool:
        """Start the program unless it runs. Return whether it was started now."""
        if self.process() is not None:
            return False
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawnp(
            self.command[0],
            self.command,
            self.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log_file), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        self.pid_file.write_text(json.dumps({"pid": pid, "started": psutil.Process(pid).create_time()}))
        return True

    def process(self) -> psutil.Process | None:
        """Return the running process, or None."""
        return running_process(self.pid_file)

    def listening_ports(self) -> set[int]:
        """Return the TCP ports on which the program itself (not what it has started) listens."""
        process = self.process()
        if process is None:
            return set()
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="tcp")
            return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
        return set()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready()`. Raise ProcessDied if the program ends before, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            if self.process() is None:
                raise ProcessDied(self.name, "ended while starting", self.last_lines(20))
            if ready():
                return
            if time.monotonic() > deadline:
                raise ProcessDied(self.name, f"was not ready after {seconds:.0f} s", self.last_lines(20))
            time.sleep(_POLL_SECONDS)

    def stop(self) -> bool:
        """End the program: first with its stop signal, after `stop_seconds` with SIGKILL for all it has started.

        Return whether it ended by itself after the signal (True also if it did not run).
        """
        return not stop_all([self])

    def kill(self) -> None:
        """End the program and all it has started at once, as a power cut would."""
        process = self.process()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            while running_process(self.pid_file) is not None:
                time.sleep(_POLL_SECONDS)
        self.pid_file.unlink(missing_ok=True)

    def last_lines(self, count: int) -> list[str]:
        """Return the last `count` lines of the log."""
        if not self.log_file.exists():
            return []
        return self.log_file.read_text(errors="replace").splitlines()[-count:]


def stop_all(processes: Sequence[ManagedProcess]) -> list[str]:
    """Stop programs side by side, each within its own `stop_seconds`. Return the names of those that were killed."""
    started = time.monotonic()
    for process in processes:
        if (running := process.process()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                running.send_signal(process.stop_signal)
    killed = []
    for process in processes:
        while process.process() is not None:
            if time.monotonic() > started + process.stop_seconds:
                process.kill()
                killed.append(process.name)
            time.sleep(_POLL_SECONDS)
        process.pid_file.unlink(missing_ok=True)
    return killed


def pid_file(folder: Path, name: str) -> Path:
    """Return the pid file of the program `name` that runs below `folder`."""
    return folder / "run" / f"{name}.pid"


def running_process(pid_file: Path) -> psutil.Process | None:
    """Return the process that `pid_file` tells of, or None if it has ended."""
    try:
        record = json.loads(pid_file.read_text())
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started"]) < _START_TIME_TOLERANCE_SECONDS
        ended = process.status() == psutil.STATUS_ZOMBIE
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    if ended and same:
        # Only a parent can bury its child; the orphans of earlier commands are left to init, which may take its time.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return process if same and not ended else None


@contextlib.contextmanager
def exclusive(lock_file: Path) -> Generator[None]:
    """Hold a lock between processes; others wait."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
