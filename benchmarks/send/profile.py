"""Where the time of a profiled worker goes."""

from __future__ import annotations

import json
from pathlib import Path

from posthorn_local.paths import REPOSITORY

_ROWS = 40


def hot_list(folder: Path) -> str:
    """Write `hot.txt` from the profiles in `folder`, and return it: shares of CPU time, start included."""
    text = "\n".join(_shown(json.loads(file.read_text())) for file in sorted(folder.glob("*.json")))
    (folder / "hot.txt").write_text(text)
    return text


def _shown(found: dict[str, dict[str, int]]) -> str:
    samples = found["samples"]
    lines = []
    for title, counts in (
        ("itself and native code  <  caller", found["own"]),
        ("with all that it calls", found["total"]),
    ):
        lines.append(f"\n  %  {title}")
        ranked = sorted(counts.items(), key=lambda item: -item[1])[:_ROWS]
        lines += [f"{100 * count / samples:5.1f}  {_short(name)}" for name, count in ranked]  # type: ignore[operator]
    return "\n".join(lines)


def _short(names: str) -> str:
    short = (name.replace(f"{REPOSITORY}/", "").rpartition("site-packages/")[2] for name in names.split(" < "))
    return "  <  ".join(short)
