"""The format of CSV files: rows out of pieces of a file.

Files are read in pieces, from any row on, within little memory however they are made. A row that cannot be read is
reported and reading goes on in the next line, so that a quote that nobody closes costs one row, not the rest.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ROW_BYTES = 64 * 1024
MAX_ROW_LINES = 500


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that cannot be read."""

    code: str
    message: str


_TOO_LONG = BrokenRow("row_too_long", f"has more than {MAX_ROW_BYTES} bytes")
_UNCLOSED = BrokenRow("unclosed_quote", "has a quote that is not closed")
_QUOTES = BrokenRow("malformed_quotes", "has quotes that cannot be read: write a quote within a quoted value twice")
_ENCODING = BrokenRow("invalid_encoding", "has bytes that are no text in the encoding of the file")


class RowReader:
    """Reads rows out of the pieces of a file. `offset` is where the row after the last one begins in the file."""

    def __init__(self, encoding: str, delimiter: str, offset: int = 0) -> None:
        self.offset = offset
        self._encoding = encoding
        self._delimiter = delimiter
        self._rest = b""
        self._skipped = 0

    def read(self, piece: bytes, *, last: bool) -> Iterator[list[str] | BrokenRow]:
        """Yield the rows that end in the next piece; empty lines and rows of empty cells are left out.

        Take them all before the next call. `last` says that no piece follows.
        """
        lines = (self._rest + piece).splitlines(keepends=True)
        # What ends in CR may be the first half of CR LF.
        held = lines.pop() if lines and not last and not lines[-1].endswith(b"\n") else b""
        if self._skipped:
            yield from self._skip(lines, held, last=last)
            held = b"" if self._skipped else held
        first = 0
        while first < len(lines):
            feed = _Feed(lines, first, self._encoding, last=last)
            try:
                for cells in csv.reader(feed, delimiter=self._delimiter, strict=True, skipinitialspace=True):
                    self.offset += feed.row_bytes
                    first += feed.row_lines
                    row = _ENCODING if feed.row_has_bad_bytes else cells
                    feed.next_row()
                    if any(cells):
                        yield row
            except (_Unfinished, _RowTooLong, csv.Error) as error:
                broken = feed.verdict(error, len(held))
                if broken is None:
                    break
                # What follows the first line of a broken row may well be good.
                self.offset += len(lines[first])
                first += 1
                yield broken
        self._rest = b"".join(lines[first:]) + held
        if len(self._rest) > MAX_ROW_BYTES:
            self._skipped = len(self._rest)
            self._rest = b""

    def _skip(self, lines: list[bytes], held: bytes, *, last: bool) -> Iterator[BrokenRow]:
        """Drop the rest of a line that is too long."""
        if not lines and not last:
            self._skipped += len(held)
            return
        self.offset += self._skipped + (len(lines.pop(0)) if lines else 0)
        self._skipped = 0
        yield _TOO_LONG


class _Unfinished(Exception):
    """The lines at hand end within a row."""


class _RowTooLong(Exception):
    """A row has more lines or bytes than is allowed."""


class _Feed:
    """Hands decoded lines to the csv module, and knows how many each row takes."""

    def __init__(self, lines: list[bytes], first: int, encoding: str, *, last: bool) -> None:
        self._lines = lines
        self._next = first
        self._encoding = encoding
        self._last = last
        self.row_bytes = 0
        self.row_lines = 0
        self.row_has_bad_bytes = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._next == len(self._lines):
            if self.row_lines and not self._last:
                raise _Unfinished
            raise StopIteration
        line = self._lines[self._next]
        self._next += 1
        self.row_lines += 1
        self.row_bytes += len(line)
        if self.row_bytes > MAX_ROW_BYTES or self.row_lines > MAX_ROW_LINES:
            raise _RowTooLong
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            self.row_has_bad_bytes = True
            return line.decode(self._encoding, errors="surrogateescape")

    def next_row(self) -> None:
        self.row_bytes = self.row_lines = 0
        self.row_has_bad_bytes = False

    def verdict(self, error: Exception, held_bytes: int) -> BrokenRow | None:
        """Return what is wrong with the row at which reading has stopped; None if only its end is still to come."""
        match error:
            case _Unfinished() if self.row_bytes + held_bytes <= MAX_ROW_BYTES and self.row_lines < MAX_ROW_LINES:
                return None
            case _RowTooLong() if self.row_lines == 1:
                return _TOO_LONG
            case _Unfinished() | _RowTooLong():
                return _UNCLOSED
            case _:
                return _UNCLOSED if "unexpected end" in str(error) else _QUOTES
