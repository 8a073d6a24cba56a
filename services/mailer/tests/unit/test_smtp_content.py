"""What the relay takes out of the wire is what was put in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.adapters.smtp.content import BareLineBreak, dot_stuffed, last_chunk

pieces = st.lists(
    st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b".\r\n", b"a", b"\0", b"\xff", b"\x85", b"QUIT", b" "])
    | st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=30,
)
anything = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a"]) | st.binary(max_size=5), max_size=20)


def received(wire: bytes) -> bytes:
    """Read content as RFC 5321 §4.5.2 has it, to the end of the data and not a byte further."""
    lines = []
    while True:
        line, end, wire = wire.partition(b"\r\n")
        assert end, "the data has no end"
        if line == b".":
            assert wire == b"", "what follows would be taken for commands"
            return b"".join(lines)
        lines.append(line.removeprefix(b".") + end)


def ended(content: bytes) -> bytes:
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


@given(pieces.map(b"".join))
def test_content_arrives_byte_for_byte(content: bytes) -> None:
    assert received(b"".join(dot_stuffed(content))) == ended(content)
    command, _, chunk = b"".join(last_chunk(content)).partition(b"\r\n")
    assert command == b"BDAT %d LAST" % len(chunk)
    assert chunk == ended(content)


@given(anything.map(b"".join))
def test_bare_line_breaks_are_found_wherever_they_are(content: bytes) -> None:
    if re.search(rb"\r(?!\n)|(?<!\r)\n", content):
        for wire in (dot_stuffed, last_chunk):
            with pytest.raises(BareLineBreak):
                wire(content)
    else:
        assert received(b"".join(dot_stuffed(content))) == ended(content)


def test_content_without_dots_is_not_copied() -> None:
    content = b"Subject: x\r\n\r\nNo dots. At least none that matter.\r\n" * 100
    assert dot_stuffed(content)[0] is content
    assert last_chunk(content)[1] is content


def test_content_known_to_be_ready_goes_as_it_is() -> None:
    content = b"Subject: x\r\n\r\nHello\r\n"
    assert dot_stuffed(content, wire_ready=True) == dot_stuffed(content)
    assert last_chunk(content, wire_ready=True) == last_chunk(content)
