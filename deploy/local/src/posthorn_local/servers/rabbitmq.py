"""A private RabbitMQ from the files of Debian's package, beside any broker the machine already runs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from posthorn_local.errors import MissingProgram
from posthorn_local.ports import LOOPBACK
from posthorn_local.supervisor import ManagedProcess

USER = "posthorn"
_SERVER_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START_SECONDS = 180.0
# Erlang's schedulers spin while idle, and several nodes would be pinned to the same cores: both off on a laptop.
_ERLANG_ARGUMENTS = (
    "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +stbt u +sbwt none +sbwtdcpu none +sbwtdio none"
)


@dataclass(frozen=True)
class RabbitMQPorts:
    """Ports of one node; `management` is for servers that tests create virtual hosts on."""

    amqp: int
    distribution: int
    epmd: int
    management: int | None = None


@dataclass(frozen=True)
class RabbitMQServer:
    """One RabbitMQ node on loopback with its own name server (epmd), cookie, configuration, data and log."""

    folder: Path
    ports: RabbitMQPorts
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """AMQP URL of the default virtual host."""
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.ports.amqp}/"

    @property
    def management_url(self) -> str:
        """Base URL of the HTTP API, credentials included; only with a management port."""
        return f"http://{USER}:{self.password}@{LOOPBACK}:{self.ports.management}"

    @property
    def data_folder(self) -> Path:
        """Everything the node writes."""
        return self.folder / "data" / "rabbitmq"

    @property
    def epmd(self) -> ManagedProcess:
        """Erlang's name server, our own, in the foreground: the one RabbitMQ would start stays behind for ever."""
        return ManagedProcess(
            name="epmd",
            command=("epmd", "-port", str(self.ports.epmd), "-address", LOOPBACK),
            folder=self.folder,
            environment=self._environment(),
        )

    @property
    def process(self) -> ManagedProcess:
        """The node. SIGTERM shuts it down in order."""
        return ManagedProcess(
            name="rabbitmq",
            command=(str(_server_script()),),
            folder=self.folder,
            environment=self._environment(),
        )

    def start(self) -> bool:
        """Start and wait until it takes connections. Return whether it was started now."""
        process = self.process
        if process.process() is None:
            self._write_configuration()
        self.epmd.start()
        started = process.start()
        process.wait_until(self._is_ready, seconds=_START_SECONDS)
        return started

    def stop(self) -> None:
        """Stop; durable queues and persistent messages are on disk afterwards."""
        if _SERVER_SCRIPT.exists():
            self.process.stop()
        self.epmd.stop()

    def _is_ready(self) -> bool:
        # The node opens its listeners last. Nothing is said to it: a broken-off handshake would be logged.
        wanted = {self.ports.amqp} if self.ports.management is None else {self.ports.amqp, self.ports.management}
        return wanted <= self.process.listening_ports()

    def _environment(self) -> dict[str, str]:
        folder = self.data_folder
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "RABBITMQ_NODENAME": "posthorn@localhost",
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
            # Makes the start script replace itself by the node, so that our pid is the node's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _write_configuration(self) -> None:
        folder = self.data_folder
        for path in (folder, folder / "home"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = {
            "listeners.tcp.local": f"{LOOPBACK}:{self.ports.amqp}",
            "default_user": USER,
            "default_pass": self.password,
            "default_user_tags.administrator": "true",
            "log.console": "true",
            "log.console.level": "warning",
            "log.file": "false",
            "raft.wal_max_size_bytes": str(64 * 1024 * 1024),
        }
        plugins = "[]."
        if self.ports.management is not None:
            plugins = "[rabbitmq_management]."
            settings |= {
                "management.tcp.ip": LOOPBACK,
                "management.tcp.port": str(self.ports.management),
                "management_agent.disable_metrics_collector": "true",
            }
        (folder / "enabled_plugins").write_text(plugins + "\n")
        path = folder / "rabbitmq.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))


def _server_script() -> Path:
    """Return RabbitMQ's own start script: the one on PATH switches to a system user."""
    if not _SERVER_SCRIPT.exists() or shutil.which("epmd") is None:
        raise MissingProgram(
            "RabbitMQ is not installed: run `apt-get install rabbitmq-server` as root, "
            "or set POSTHORN_AMQP_URL to the address of a server"
        )
    return _SERVER_SCRIPT
