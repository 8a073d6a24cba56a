"""`posthorn-mailer` with a look at its stack at every other millisecond of CPU time that it uses.

`python -m benchmarks.send.profiled_mailer FOLDER run …` writes FOLDER/<pid>.json. Unlike cProfile this slows nothing
down, and time in native code counts for the Python function that called it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from posthorn_mailer.entrypoints.cli import main

_INTERVAL_SECONDS = 0.002


class _Sampler:
    """Counts on which functions the samples fall: on top of the stack with its caller, and anywhere in it."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        self.samples = 0

    def look(self, _signal: int, frame: FrameType | None) -> None:
        self.samples += 1
        stack: list[str] = []
        while frame is not None:
            code = frame.f_code
            stack.append(f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}")
            frame = frame.f_back
        self.own[" < ".join(stack[:2])] += 1
        self.total.update(set(stack))


def _run(folder: Path) -> None:
    sampler = _Sampler()
    signal.signal(signal.SIGPROF, sampler.look)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)
    try:
        main(standalone_mode=False)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        folder.mkdir(parents=True, exist_ok=True)
        found = {"samples": sampler.samples, "own": sampler.own, "total": sampler.total}
        (folder / f"{os.getpid()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    _run(Path(sys.argv.pop(1)))
