"""What encoding a file has: detected while it comes in, and made one that keeps ASCII."""

from __future__ import annotations

import codecs

from posthorn_campaigns.domain.errors import UnreadableFile

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
