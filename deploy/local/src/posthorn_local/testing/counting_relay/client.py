"""Starts a counting relay and asks it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from posthorn_local.ports import LOOPBACK, free_ports
from posthorn_local.supervisor import ManagedProcess
from posthorn_local.testing.counting_relay.faults import Fault

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Records:
    """Address → Message-IDs of what was accepted for it, and replies with which it was refused."""

    accepted: dict[str, list[str]]
    refused: dict[str, list[str]]


class CountingRelay:
    """A counting relay in a process of its own, with its log and pid file below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.smtp_port, http_port = free_ports(2)
        command = (sys.executable, "-m", "posthorn_local.testing.counting_relay")
        ports = ("--smtp-port", str(self.smtp_port), "--http-port", str(http_port))
        self.process = ManagedProcess("counting-relay", (*command, *ports), folder, dict(os.environ))
        self._http = httpx.Client(base_url=f"http://{LOOPBACK}:{http_port}", timeout=60, trust_env=False)

    def start(self) -> None:
        """Start it; returns when it listens."""
        self.process.start()
        self.process.wait_until(self._is_ready, seconds=_START_SECONDS)

    def stop(self) -> None:
        """Stop it; what it has counted is gone."""
        self.process.stop()
        self._http.close()

    def counts(self) -> dict[str, Any]:
        """Return `messages`, `recipients`, `repeated`, `connections`, `struck` (faults, by name), and by the monotonic
        clock `first_at` and `last_at`.
        """
        document: dict[str, Any] = self._http.get("/counts").raise_for_status().json()
        return document

    def records(self) -> Records:
        """Return everything that was counted, by address."""
        return Records(**self._http.get("/records").raise_for_status().json())

    def forget(self) -> None:
        """Count anew from here."""
        self._http.delete("/records").raise_for_status()

    def follow(self, faults: Sequence[Fault] = (), *, delay_seconds: float = 0.0) -> None:
        """Do this wrong from now on, and answer each message that late; ends what went wrong before."""
        script = {"faults": [asdict(fault) for fault in faults], "delay_seconds": delay_seconds}
        self._http.put("/script", json=script).raise_for_status()

    def _is_ready(self) -> bool:
        try:
            return self._http.get("/health/ready").is_success
        except httpx.TransportError:
            return False
