"""Files that come in packed by gzip (RFC 1952), unpacked as they come."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from posthorn_campaigns.domain.errors import UnreadableFile

MAGIC = b"\x1f\x8b"
"""How such a file begins, and no text does."""

_STEP_BYTES = 64 * 1024
_GZIP_ONLY = 16 + zlib.MAX_WBITS


class Unpacker:
    """Unpacks a file of one or more members in small steps, so that no input makes much of memory at once."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_ONLY)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes hold, at most 64 KiB at a time. Raises UnreadableFile."""
        pending = False
        while data or pending:
            if self._member.eof:
                # Some programs fill the file up with zeros behind the last member.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(_GZIP_ONLY)
            self._begun = True
            try:
                made = self._member.decompress(data, _STEP_BYTES)
            except zlib.error:
                raise UnreadableFile("it is damaged, or no gzip") from None
            # With all input taken there may still be output that did not fit into the step.
            pending = len(made) == _STEP_BYTES and not self._member.eof
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if made:
                yield made

    def end(self) -> None:
        """Raise UnreadableFile unless the file has come in whole."""
        if self._begun and not self._member.eof:
            raise UnreadableFile("it is gzip that ends too early")
