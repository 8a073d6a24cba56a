"""Quoted-printable says what was said, in lines that every relay takes, however a text is cut into pieces."""

from __future__ import annotations

import binascii
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn_mailer.adapters.quoted_printable import MarkedText, NotSpliced, quoted_printable, seam_of

MARK = "m4rk-" * 13 + "x"
TOKEN = b"t0ken_" * 11
SEAM = seam_of(MARK)
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


@given(literals=lists, values=lists)
@example(literals=["s" * 80, " " * 30 + "t"], values=["value ", "\n.\n", "=3D"])
@example(literals=[".dot " * 8, "x" * 30], values=["", "\n"])
@example(literals=["one " * 10 + "\n", "two\t" * 10], values=["", "x" * 75, "\t"])
@example(literals=["a" + MARK, MARK, "é"], values=[MARK, "", f"{MARK}{MARK}\n"])
def test_a_text_with_literals_is_decoded_as_it_was(literals: list[str], values: list[str]) -> None:
    encoder = MarkedText(MARK, literals)
    for order in ([*range(len(literals))], [*range(len(literals))][::-1], [*range(len(literals))] * 2):
        between = [*values, *[""] * len(order)]
        pairs = list(zip(between, order, strict=False))
        seamed = "".join(f"{value}{SEAM}{number}{SEAM}" for value, number in pairs)
        whole = "".join(value + literals[number] for value, number in pairs)
        body = encoder.splice(seamed, TOKEN, most_bytes=1_000_000)
        assert said(body) == "".join(
            meant(part) for value, number in pairs for part in (value, literals[number])
        ).replace(MARK, TOKEN.decode())
        assert body.count(TOKEN) == whole.count(MARK)


@given(text=texts)
def test_what_replaces_a_mark_is_never_broken(text: str) -> None:
    text = MARK.join(("before " * 5, text, "after", ""))
    body = MarkedText(MARK).encode(text, TOKEN)
    assert body.count(TOKEN) == text.count(MARK)
    assert said(body) == meant(text).replace(MARK, TOKEN.decode())


def test_a_literal_is_encoded_once() -> None:
    body = MarkedText(MARK, ["Dear reader, =\n"]).splice(f"{SEAM}0{SEAM}Ada", TOKEN, most_bytes=100)
    assert body == b"Dear reader, =3D\r\nAda"


@pytest.mark.parametrize("text", [SEAM, f"{SEAM}1{SEAM}", f"{SEAM}x{SEAM}", f"{SEAM}{SEAM}", f"{SEAM}0{SEAM}" * 8])
def test_seams_that_are_not_ours_or_print_too_much_are_refused(text: str) -> None:
    with pytest.raises(NotSpliced):
        MarkedText(MARK, ["Dear reader"]).splice(text, TOKEN, most_bytes=100)
