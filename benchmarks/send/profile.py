"""Where the time of a profiled worker goes."""

from __future__ import annotations

import io
import pstats
from pathlib import Path

from posthorn_local.paths import REPOSITORY

_ROWS = 45


def hot_list(folder: Path) -> str:
    """Write `hot.txt` from the profiles in `folder`, and return it: by own time, then with callees."""
    text = io.StringIO()
    for file in sorted(folder.glob("*.pstats")):
        stats = pstats.Stats(str(file), stream=text)
        for order in ("tottime", "cumulative"):
            stats.sort_stats(order).print_stats(_ROWS)
    shown = text.getvalue().replace(f"{REPOSITORY}/", "")
    (folder / "hot.txt").write_text(shown)
    return shown
