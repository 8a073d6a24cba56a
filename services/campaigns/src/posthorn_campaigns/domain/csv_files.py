"""The format of CSV files: rows out of pieces of a file, and what encoding and delimiter it has.

Files are read in pieces, from any row on, within little memory however they are made. A row that cannot be read is
reported and reading goes on in the next line, so that a quote that nobody closes costs one row, not the rest.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass

from posthorn_campaigns.domain.csv_rows import columns_of
from posthorn_campaigns.domain.errors import Invalid, UnreadableFile

MAX_ROW_BYTES = 64 * 1024
MAX_ROW_LINES = 500
DELIMITERS = (",", ";", "\t", "|")
_BROKEN = "\udcff"
UTF_8, WINDOWS_1252 = "utf-8", "cp1252"
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Line breaks, quotes and delimiters are the same single bytes in these as in ASCII.
_SINGLE_BYTE = frozenset(
    {f"cp125{number}" for number in range(9)} | {f"iso8859-{number}" for number in range(1, 17)} | {"koi8-r", "koi8-u"}
)


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


@dataclass(frozen=True, slots=True)
class Header:
    """What the first row says. `end` is where the row after it begins."""

    delimiter: str
    columns: tuple[str, ...]
    end: int


def header_of(head: bytes, encoding: str, delimiter: str | None, *, whole: bool) -> Header:
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
            found.append(Header(candidate, columns_of(row), reader.offset))
        except Invalid as problem:
            # The delimiter is the one with most columns; quotes that go wrong say more than a single column.
            problems.append((len(row) if isinstance(row, list) else 1.5, problem))
    if not found:
        raise max(problems, key=lambda problem: problem[0])[1]
    return max(found, key=lambda header: len(header.columns))


class Transcoder:
    """Makes the bytes of an upload ASCII-compatible: UTF-16 and UTF-32 become UTF-8, all else stays as it is.

    `encoding` is known for certain when the whole file has been seen: what is not UTF-8 is taken for Windows-1252,
    which holds Latin-1, unless another encoding was named.
    """

    def __init__(self, charset: str | None) -> None:
        """`charset` is what the sender says. Raises UnreadableFile if it is not supported."""
        self._named = None if charset is None else _supported(charset)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._census = codecs.getincrementaldecoder(UTF_8)(errors="replace")
        self._characters = 0
        self._broken = 0
        self._started = False

    @property
    def encoding(self) -> str:
        """The encoding of what `feed` has returned so far."""
        if self._named:
            return self._named
        # A few broken places in a file that otherwise is UTF-8 are rows to report, no other encoding.
        return UTF_8 if self._broken <= self._characters else WINDOWS_1252

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """Return the next bytes to store. The first call needs at least four bytes, or the whole file."""
        if not self._started:
            self._started = True
            wide = _wide_encoding(data)
            if wide:
                self._decoder = codecs.getincrementaldecoder(wide)(errors="replace")
            if wide or data.startswith(codecs.BOM_UTF8):
                self._named = UTF_8
        if self._decoder is not None:
            # What is broken there stays broken here, so that its row is rejected.
            return self._decoder.decode(data, final=last).replace("\ufffd", _BROKEN).encode(UTF_8, "surrogateescape")
        self._count(data, last=last)
        return data

    def _count(self, data: bytes, *, last: bool) -> None:
        text = self._census.decode(data, final=last)
        if text.isascii():
            return
        broken = text.count("\ufffd")
        self._broken += broken
        self._characters += len(text) - len(text.encode("ascii", errors="ignore")) - broken


def _wide_encoding(head: bytes) -> str | None:
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    # Without a mark: Latin letters have a zero byte before or behind them.
    sample = head[:64]
    if len(sample) >= 4 and not any(sample[0::2]) and all(sample[1::2]):
        return "utf-16-be"
    if len(sample) >= 4 and all(sample[0::2]) and not any(sample[1::2]):
        return "utf-16-le"
    return None


def _supported(charset: str) -> str | None:
    """Return Python's name of a single-byte encoding; None for the Unicode ones, which are detected."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        raise UnreadableFile("its charset is not known") from None
    if name.startswith(("utf-", "utf_")) or name == "ascii":
        return None
    if name not in _SINGLE_BYTE:
        raise UnreadableFile("its charset is not supported; save it as UTF-8")
    return name
