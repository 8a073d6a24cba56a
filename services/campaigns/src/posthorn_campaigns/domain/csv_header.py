"""What the beginning of a CSV file says: its delimiter and its columns."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from posthorn_campaigns.domain.column_names import EMAIL, suggested_columns
from posthorn_campaigns.domain.csv_files import BrokenRow, RowReader
from posthorn_campaigns.domain.csv_rows import columns_of
from posthorn_campaigns.domain.errors import Invalid, UnreadableFile

DELIMITERS = (",", ";", "\t", "|")
"""Those that are detected."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first row says. `end` is where the row after it begins."""

    delimiter: str
    columns: tuple[str, ...]
    end: int


def header_of(
    head: bytes,
    encoding: str,
    delimiter: str | None,
    *,
    whole: bool,
    mapping: Mapping[str, str | None] | None = None,
) -> Header:
    """Return the header in the first bytes of a file; `whole` says that the file has no more.

    Without a delimiter the one with which the header makes most sense is taken. Raises UnreadableFile and what
    columns_of raises.
    """
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    found: list[Header] = []
    problems: list[tuple[float, Invalid]] = []
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        reader = RowReader(encoding, candidate, start)
        row = next(reader.read(head[start:], last=whole), None)
        try:
            if row is None:
                raise UnreadableFile("it is empty" if whole else "its first line is too long")
            if isinstance(row, BrokenRow):
                raise UnreadableFile(f"its first line {row.message}")
            if any("\0" in cell for cell in row):
                raise UnreadableFile("it is no text")
            found.append(Header(candidate, columns_of(row, mapping), reader.offset))
        except Invalid as problem:
            # The delimiter is the one with most columns; quotes that go wrong say more than a single column.
            problems.append((len(row) if isinstance(row, list) else 1.5, problem))
    if not found:
        raise max(problems, key=lambda problem: problem[0])[1]
    return max(found, key=lambda header: len(header.columns))


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The first rows of a file, and what each column of it might become; None for one to leave out."""

    delimiter: str
    names: tuple[str, ...]
    suggested: tuple[str | None, ...]
    samples: tuple[tuple[str, ...], ...]


def glimpse_of(head: bytes, encoding: str, delimiter: str | None, rows: int, *, whole: bool) -> Glimpse:
    """Look at the header and the first `rows` rows, whatever the header is like. Raises UnreadableFile."""
    glimpses: list[Glimpse] = []
    problem = UnreadableFile("it is empty")
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        found = _first_rows(head, encoding, candidate, whole=whole)
        try:
            names = tuple(cell.strip() for cell in _header_row(found, whole=whole))
        except UnreadableFile as error:
            problem = error
            continue
        samples = [tuple(row) for row, _ in zip(_good(found), range(rows), strict=False)]
        glimpses.append(Glimpse(candidate, names, suggested_columns(names), tuple(samples)))
    if not glimpses:
        raise problem
    return max(glimpses, key=lambda glimpse: (EMAIL in glimpse.suggested, len(glimpse.names)))


def _first_rows(head: bytes, encoding: str, delimiter: str, *, whole: bool) -> Iterator[list[str] | BrokenRow]:
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    return RowReader(encoding, delimiter, start).read(head[start:], last=whole)


def _header_row(rows: Iterator[list[str] | BrokenRow], *, whole: bool) -> list[str]:
    row = next(rows, None)
    if row is None:
        raise UnreadableFile("it is empty" if whole else "its first line is too long")
    if isinstance(row, BrokenRow):
        raise UnreadableFile(f"its first line {row.message}")
    if any("\0" in cell for cell in row):
        raise UnreadableFile("it is no text")
    return row


def _good(rows: Iterator[list[str] | BrokenRow]) -> Iterator[list[str]]:
    return (row for row in rows if not isinstance(row, BrokenRow))
