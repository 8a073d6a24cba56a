"""CSV (RFC 4180) for people who open it in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last: full width


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV. No spreadsheet runs what somebody has put into a cell (OWASP: CSV injection)."""
    text = io.StringIO()
    csv.writer(text).writerows([[_no_formula(cell) for cell in row] for row in rows])
    return text.getvalue()


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS) else cell
