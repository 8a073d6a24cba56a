"""Processes for work on what users wrote: what bounds them, and that they start."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from posthorn_common.confined.inside import READY
from posthorn_common.confined.outside import Confined, DidNotStart

_BEGIN = "from posthorn_common.confined.inside import allow_seconds, confine\nimport os, signal, sys\nconfine(2**28)\n"


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    command = (sys.executable, "-c", _BEGIN + code)
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_it_says_that_it_is_ready() -> None:
    done = run("print('done')")
    assert (done.returncode, done.stdout) == (0, READY + b"done\n")


def test_it_cannot_take_more_memory_than_it_may() -> None:
    done = run("x = bytearray(2**26)\nprint('half', flush=True)\ny = bytearray(2**28)")
    assert done.stdout == READY + b"half\n"
    assert b"MemoryError" in done.stderr


def test_native_code_that_never_returns_is_ended_by_the_kernel() -> None:
    # One call into C that would take years, with the interpreter's lock held.
    done = run("allow_seconds(0.2)\nsum(range(2**62))")
    assert done.returncode == -signal.SIGPROF


def test_each_allowance_begins_anew() -> None:
    spend = "import time\ndef spend():\n  end = time.process_time() + 0.15\n  while time.process_time() < end: pass\n"
    done = run(spend + "for _ in range(4):\n  allow_seconds(0.4)\n  spend()\nprint('done')")
    assert (done.returncode, done.stdout) == (0, READY + b"done\n")


def test_signals_that_end_a_service_are_left_to_its_parent() -> None:
    done = run("for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): os.kill(os.getpid(), one)\nprint('done')")
    assert (done.returncode, done.stdout) == (0, READY + b"done\n")


def test_what_does_not_start_says_why() -> None:
    with pytest.raises(DidNotStart, match="no_such_module"):
        Confined("posthorn_common.no_such_module")
