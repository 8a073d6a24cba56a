"""`posthorn-mailer` under cProfile: `python -m benchmarks.send.profiled_mailer FOLDER run …`.

Writes FOLDER/<pid>.pstats. The profiler makes Python code two to four times slower and native code not at all, so the
result tells where to look, not what it costs.
"""

from __future__ import annotations

import cProfile
import os
import sys
import time
from pathlib import Path

from posthorn_mailer.entrypoints.cli import main


def _run(folder: Path) -> None:
    profile = cProfile.Profile(time.process_time)
    try:
        profile.runcall(main, standalone_mode=False)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        profile.dump_stats(folder / f"{os.getpid()}.pstats")


if __name__ == "__main__":
    target = Path(sys.argv.pop(1))
    _run(target)
