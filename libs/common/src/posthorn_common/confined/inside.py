"""What a confined process does to itself. It imports little, for every such process has its own copy of it."""

from __future__ import annotations

import resource
import signal
import sys

READY = b"ready\n"


def confine(memory_bytes: int) -> None:
    """Bound the memory of this process for good, tell the parent that it is ready, and leave its end to the parent.

    Signals that ask a whole group of processes to end are the parent's: it finishes its work first, and needs us for
    that. When it is gone, however it went, our input ends.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bytes_ = memory_bytes if hard < 0 else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def allow_seconds(seconds: float) -> None:
    """Let the kernel end this process by SIGPROF when it has used so much processor time; each call begins anew.

    Nothing else would: an extension that is at work lets no Python code run, no handler of signals either.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
