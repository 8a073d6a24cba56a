"""Replies, out of the bytes that a relay sends (RFC 5321 §4.2)."""

from __future__ import annotations

MAX_LINE_BYTES = 8192
MAX_REPLY_BYTES = 4 * MAX_LINE_BYTES
_BLANK = b" \t\r\n"
_AFTER_CODE = b" -\t\r"


class NotSmtp(Exception):
    """What came is no reply; nothing that comes after it can be understood."""


class ReplyParser:
    """Takes bytes as they come and gives replies, whole ones only. Line feeds alone end lines too."""

    __slots__ = ("_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._code = b""
        self._size = 0

    @property
    def has_input(self) -> bool:
        """Whether something has come that is not part of a reply given out."""
        return bool(self._buffer) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer = self._buffer + data if self._buffer else data

    def next_reply(self) -> tuple[int, bytes] | None:
        """Return code and text of the next reply, its lines separated by line feeds. Raises NotSmtp."""
        while True:
            buffer = self._buffer
            end = buffer.find(b"\n", 0, MAX_LINE_BYTES)
            if end < 0:
                if len(buffer) >= MAX_LINE_BYTES:
                    raise NotSmtp("Response too long")
                return None
            line = buffer[:end]
            self._buffer = buffer[end + 1 :]
            code, mark = line[:3], line[3:4]
            if not code.isdigit() or len(code) < 3 or mark not in _AFTER_CODE:
                raise NotSmtp(f"Malformed SMTP response line: {line.decode(errors='ignore')}")
            text = line[4:].strip(_BLANK)
            if mark != b"-" and not self._lines:
                return int(code), text
            self._add(code, text)
            if mark != b"-":
                whole = b"\n".join(self._lines)
                self._lines = []
                return int(code), whole

    def _add(self, code: bytes, text: bytes) -> None:
        if not self._lines:
            self._code = code
            self._size = 0
        elif code[0] != self._code[0]:
            raise NotSmtp(f"The lines of the reply contradict one another: {self._code.decode()} and {code.decode()}")
        self._lines.append(text)
        self._size += len(text) + 1
        if self._size > MAX_REPLY_BYTES:
            raise NotSmtp("Response too long")
