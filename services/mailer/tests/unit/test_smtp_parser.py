"""Replies are understood however they are cut, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.adapters.smtp.capabilities import Capabilities, parse_capabilities
from posthorn_mailer.adapters.smtp.parser import MAX_LINE_BYTES, MAX_REPLY_BYTES, NotSmtp, ReplyParser

texts = st.binary(max_size=60).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n").strip(b" \t"))
replies = st.lists(st.tuples(st.integers(200, 599), st.lists(texts, min_size=1, max_size=4)), min_size=1, max_size=5)


def written(code: int, lines: list[bytes], end: bytes) -> bytes:
    *before, last = lines
    return b"".join(b"%d-%s%s" % (code, line, end) for line in before) + b"%d %s%s" % (code, last, end)


def all_replies(parser: ReplyParser) -> list[tuple[int, bytes]]:
    return list(iter(parser.next_reply, None))


@given(replies, st.sampled_from([b"\r\n", b"\n"]), st.data())
def test_replies_are_the_same_wherever_they_are_cut(
    wanted: list[tuple[int, list[bytes]]], end: bytes, data: st.DataObject
) -> None:
    stream = b"".join(written(code, lines, end) for code, lines in wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, found = ReplyParser(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parser.feed(stream[start:stop])
        found += all_replies(parser)
    assert found == [(code, b"\n".join(lines)) for code, lines in wanted]
    assert not parser.has_input


@pytest.mark.parametrize(
    "line",
    [b"hello", b"25", b"2x0 ok", b"+25 ok", b" 250 ok", b"2500 ok", b"250_ok", b"", "\uff12\uff15\uff10 ok".encode()],
)
def test_what_is_no_reply_is_refused(line: bytes) -> None:
    parser = ReplyParser()
    parser.feed(line + b"\r\n")
    with pytest.raises(NotSmtp):
        parser.next_reply()


@pytest.mark.parametrize("line", [b"250\r\n", b"250 \r\n", b"250\n", b"250\t\r\n"])
def test_a_reply_needs_no_text(line: bytes) -> None:
    parser = ReplyParser()
    parser.feed(line)
    assert parser.next_reply() == (250, b"")


def test_replies_have_a_greatest_length() -> None:
    parser = ReplyParser()
    parser.feed(b"250 " + b"x" * (MAX_LINE_BYTES - 5) + b"\n")
    assert parser.next_reply() is not None
    parser.feed(b"250 " + b"x" * MAX_LINE_BYTES)
    with pytest.raises(NotSmtp):
        parser.next_reply()

    parser = ReplyParser()
    parser.feed(b"250-x\r\n" * MAX_REPLY_BYTES)
    with pytest.raises(NotSmtp):
        parser.next_reply()


def test_the_beginning_of_a_reply_is_input_too() -> None:
    parser = ReplyParser()
    parser.feed(b"250 ok\r\n25")
    assert parser.next_reply() == (250, b"ok")
    assert parser.has_input
    parser.feed(b"0-more\r\n")
    assert parser.next_reply() is None
    assert parser.has_input, "half of a reply has been read already"


def test_extensions_are_read_as_servers_write_them() -> None:
    text = (
        "mx.example.org\nsize 35882577\n8bitmime\nAUTH LOGIN plain\nAUTH=XOAUTH2\nPIPELINING\nCHUNKING\nSTARTTLS\n"
        "SMTPUTF8\nENHANCEDSTATUSCODES\n\nX-UNKNOWN a b"
    )
    assert parse_capabilities(text) == Capabilities(
        pipelining=True, chunking=True, eight_bit_mime=True, smtp_utf8=True, starttls=True, size=True,
        max_size=35882577, auth=frozenset({"LOGIN", "PLAIN", "XOAUTH2"}),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "PIPELINING", "host STARTTLS", "host\nNOPIPELINING\nX8BITMIME"])
def test_nothing_is_offered_that_is_not_announced(text: str) -> None:
    assert parse_capabilities(text) == Capabilities()
