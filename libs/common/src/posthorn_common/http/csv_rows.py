"""CSV for spreadsheets: RFC 4180, and no cell that a spreadsheet would run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

from fastapi.responses import StreamingResponse

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Item = TypeVar("Item")


def safe_cell(value: object) -> object:
    """Return the value, with an apostrophe before a text that would be taken for a formula (OWASP CSV injection)."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV."""
    out = io.StringIO()
    csv.writer(out).writerows([safe_cell(value) for value in row] for row in rows)
    return out.getvalue()


def csv_response(
    filename: str,
    header: Sequence[str],
    first: list[Item],
    rest: AsyncIterator[list[Item]],
    row: Callable[[Item], Sequence[object]],
) -> StreamingResponse:
    """Stream pages as a CSV file; the first page is read beforehand, while an error can still be answered."""

    async def chunks() -> AsyncIterator[str]:
        yield csv_lines([header, *(row(item) for item in first)])
        async for page in rest:
            yield csv_lines(row(item) for item in page)

    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return StreamingResponse(chunks(), media_type="text/csv; charset=utf-8", headers=headers)
