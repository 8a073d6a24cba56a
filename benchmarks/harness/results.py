"""Medians, tables and result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from posthorn_local.paths import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"

Figures = Mapping[str, float]


def medians(rounds: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def table(rows: Mapping[str, Figures], columns: Mapping[str, str]) -> str:
    """Return a text table: one row each, `columns` maps a figure's name to its format; what is missing stays empty."""
    lines = [["", *columns]]
    for name, figures in rows.items():
        cells = [format(figures[column], style) if column in figures else "" for column, style in columns.items()]
        lines.append([name, *cells])
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join("  ".join(_aligned(line, widths)) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = zip(line[1:], widths[1:], strict=True)
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in numbers)]


def machine() -> dict[str, Any]:
    """Return what the figures depend on, the load of other programs included."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def last_line(name: str, figures: Mapping[str, str]) -> str:
    """Return the line for programs: `<name>: a=1 b=2`."""
    return f"{name}: " + " ".join(f"{key}={value}" for key, value in figures.items())


def write_json(name: str, document: Mapping[str, Any]) -> Path:
    """Write a result below `results/`; return the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
