"""Quoted-printable says what was said, in lines that every relay takes, however a text is cut into pieces."""

from __future__ import annotations

import binascii
import re

from hypothesis import example, given
from hypothesis import strategies as st

from posthorn_mailer.adapters.quoted_printable import SharedText, quoted_printable

MARK = "m4rk-" * 13 + "x"
TOKEN = b"t0ken_" * 11
# RFC 2045 §6.7: `=` stands before two digits or at the end of a line, and no line ends in a space.
LINE = re.compile(rb"(?:[\t !-<>-~]|=[0-9A-F]{2})*(?<![\t ])=?\Z|(?:[\t !-<>-~]|=[0-9A-F]{2})*=\Z")

words = st.sampled_from(
    ["a", " ", "\t", "\n", "\r", "\r\n", ".", "=", "é", "😀", "\ud800", "x" * 30, "y" * 75, "z" * 200, "\x00", "\u2028"]
)
texts = st.lists(words, max_size=12).map("".join) | st.text(max_size=200)
lists = st.lists(texts, max_size=6)


def said(body: bytes) -> str:
    lines = body.split(b"\r\n")
    assert all(LINE.match(line) and len(line) <= 76 and not line.startswith(b".") for line in lines)
    return binascii.a2b_qp(body).replace(b"\r\n", b"\n").decode()


def meant(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()


@given(text=texts)
@example(text=".\n..\n .\na.")
@example(text="x" * 75 + ".")
@example(text="." * 400)
@example(text="." + "x" * 75 + " \n." + "=" * 30)
@example(text="y" * 74 + " \n")
@example(text="y" * 74 + " \t\n")
@example(text="y" * 75 + "\t\n")
@example(text="y" * 75 + " ")
def test_a_text_is_decoded_as_it_was(text: str) -> None:
    assert said(quoted_printable(text)) == meant(text)


@given(shared=lists, values=lists)
@example(shared=["s" * 80, " " * 30 + "t"], values=["value ", "\n.\n", "=3D"])
@example(shared=[".dot " * 8, "x" * 30], values=["", "\n"])
@example(shared=["one " * 10 + "\n", "two\t" * 10], values=["", "x" * 75, "\t"])
@example(shared=["again and again and again " * 2] * 3, values=["again and again and again "])
def test_a_text_with_shared_pieces_is_decoded_as_it_was(shared: list[str], values: list[str]) -> None:
    encoder = SharedText(shared, mark=MARK)
    for order in (shared, shared[::-1], shared[1:], [*shared, *shared]):
        between = [*values, *[""] * len(order)]
        text = "".join(value + piece for piece, value in zip(order, between, strict=False)) + "".join(values[-1:])
        assert said(encoder.encode(text, TOKEN)) == meant(text)


@given(shared=lists, values=lists)
def test_what_replaces_a_mark_is_never_broken(shared: list[str], values: list[str]) -> None:
    marked = [MARK.join(("before " * 5, piece, "after")) for piece in shared]
    text = "".join(piece + value + MARK for piece, value in zip(marked, [*values, *[""] * len(marked)], strict=False))
    body = SharedText(marked, mark=MARK).encode(text, TOKEN)
    assert body.count(TOKEN) == text.count(MARK)
    assert said(body) == meant(text).replace(MARK, TOKEN.decode())


def test_what_is_shared_is_encoded_once() -> None:
    shared = "Dear reader, here is what all of you have asked for =\n"
    body = SharedText([shared], mark=MARK).encode(f"{shared}Ada", TOKEN)
    assert body == b"Dear reader, here is what all of you have asked for =3D\r\nAda"
