"""NDJSON files: one JSON object (RFC 8259) per line, out of pieces of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from posthorn_campaigns.domain.csv_files import BrokenRow

MAX_LINE_BYTES = 256 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"

_TOO_LONG = BrokenRow("row_too_long", f"has more than {MAX_LINE_BYTES} bytes")
_NO_JSON = BrokenRow("invalid_json", "is no JSON object on a line of its own")
_ENCODING = BrokenRow("invalid_encoding", "has bytes that are no text in the encoding of the file")


class ObjectReader:
    """Reads objects out of the pieces of a file, as RowReader reads rows: same offsets, same rules for broken ones."""

    def __init__(self, encoding: str, offset: int = 0) -> None:
        self.offset = offset
        self._encoding = encoding
        self._rest = b""
        self._skipped = 0

    def read(self, piece: bytes, *, last: bool) -> Iterator[dict[str, Any] | BrokenRow]:
        """Yield the objects whose lines end in the next piece; empty lines are left out.

        Take them all before the next call. `last` says that no piece follows.
        """
        lines = (self._rest + piece).split(b"\n")
        held = lines.pop()
        self._rest = b""
        for line in lines:
            yield from self._object(line, len(line) + 1)
        if last:
            yield from self._object(held, len(held))
        elif len(held) + self._skipped > MAX_LINE_BYTES:
            self._skipped += len(held)
        else:
            self._rest = held

    def _object(self, line: bytes, size: int) -> Iterator[dict[str, Any] | BrokenRow]:
        if not self.offset:
            line = line.removeprefix(_BOM)
        self.offset += self._skipped + size
        if self._skipped or len(line) > MAX_LINE_BYTES:
            self._skipped = 0
            yield _TOO_LONG
        elif line.strip(_BLANK):
            yield self._parsed(line)

    def _parsed(self, line: bytes) -> dict[str, Any] | BrokenRow:
        try:
            found = _loads(line.decode(self._encoding))
        except UnicodeDecodeError:
            return _ENCODING
        except (ValueError, RecursionError):
            return _NO_JSON
        return found if isinstance(found, dict) else _NO_JSON


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and infinities are no JSON")


_loads = json.JSONDecoder(parse_constant=_no_constant).decode
