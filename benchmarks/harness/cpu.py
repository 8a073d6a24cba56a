"""CPU time and memory of process trees, as the kernel counts them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import psutil


class CpuMeter:
    """CPU seconds (user and system) that named process trees have used since `start`."""

    def __init__(self, roots: Mapping[str, list[int]]) -> None:
        """`roots` are the pids at the tops of the trees; several trees may share a name."""
        self._roots = {name: [psutil.Process(pid) for pid in pids] for name, pids in roots.items()}
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """Count from now on."""
        self._before = self._used()

    def read(self) -> dict[str, float]:
        """Return seconds by name."""
        return {name: used - self._before[name] for name, used in self._used().items()}

    def _used(self) -> dict[str, float]:
        return {name: sum(tree_seconds(root) for root in roots) for name, roots in self._roots.items()}


def tree_seconds(root: psutil.Process) -> float:
    """Return the CPU seconds of a process, of its living descendants, and of those it has buried."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        # One that ends meanwhile leaves its time to its parent.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_memory_mb(pid: int) -> float:
    """Return the most resident memory that a process and its living descendants have had, in MB (10^6 bytes).

    What they share is counted for each.
    """
    family = (pid, *(process.pid for process in psutil.Process(pid).children(recursive=True)))
    return sum(_peak_memory_mb(member) for member in family)


def _peak_memory_mb(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"the kernel does not tell the peak memory of process {pid}")
    return int(found[1]) * 1024 / 1e6
