"""Reading CSV files, however they are made, within little memory."""

from __future__ import annotations

import csv
import io

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_campaigns.domain.csv_files import MAX_ROW_BYTES, MAX_ROW_LINES, BrokenRow, RowReader
from posthorn_campaigns.domain.csv_header import header_of
from posthorn_campaigns.domain.encodings import Transcoder
from posthorn_campaigns.domain.errors import (
    DuplicateColumn,
    InvalidColumn,
    MissingEmailColumn,
    TooManyColumns,
    UnreadableFile,
)

PIECE = 256 * 1024
Found = list[list[str] | str]


def read(data: bytes, *, size: int = 0, delimiter: str = ",", encoding: str = "utf-8", offset: int = 0) -> Found:
    """Return the rows of a file that comes in pieces of a size; of broken rows the code."""
    return [row for row, _ in read_with_offsets(data, size, delimiter, encoding, offset)]


def read_with_offsets(
    data: bytes, size: int = 0, delimiter: str = ",", encoding: str = "utf-8", offset: int = 0
) -> list[tuple[list[str] | str, int]]:
    reader = RowReader(encoding, delimiter, offset)
    size = size or max(1, len(data))
    found: list[tuple[list[str] | str, int]] = []
    for begin in range(offset, max(len(data), 1), size):
        rows = reader.read(data[begin : begin + size], last=begin + size >= len(data))
        found.extend((row.code if isinstance(row, BrokenRow) else row, reader.offset) for row in rows)
    assert reader.offset == len(data)
    return found


_CELL = st.text(
    st.one_of(
        st.sampled_from("\",;|\t\r\n '=é€😀\u2028\x85"),
        st.characters(exclude_categories=("Cs",), exclude_characters="\0"),
    ),
    max_size=12,
)
_ROWS = st.lists(st.lists(_CELL, min_size=1, max_size=5), max_size=8)


@given(
    rows=_ROWS,
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    size=st.integers(1, 40),
)
def test_well_formed_files_are_read_as_pythons_csv_reads_them_in_pieces_of_any_size(
    rows: list[list[str]], delimiter: str, newline: str, quoting: int, size: int
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows(rows)
    expected = [
        row
        for row in csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter, skipinitialspace=True)
        if any(row)
    ]
    data = text.getvalue().encode()
    found = read_with_offsets(data, size, delimiter)
    assert [row for row, _ in found] == expected
    for index, (_, offset) in enumerate(found):
        assert read(data, size=size, delimiter=delimiter, offset=offset) == expected[index + 1 :], "resumed after a row"


@given(data=st.lists(st.sampled_from([b'"', b",", b"a", b"\n", b"\r", b"\xff", "é".encode(), b" "])).map(b"".join))
def test_any_bytes_are_read_the_same_in_pieces_of_any_size_and_resumed_anywhere(data: bytes) -> None:
    whole = read_with_offsets(data)
    for size in (1, 2, 7):
        assert read_with_offsets(data, size) == whole
    for index, (_, offset) in enumerate(whole):
        assert read_with_offsets(data, offset=offset) == whole[index + 1 :]


def test_a_broken_line_costs_one_row() -> None:
    lines = [b"a@x,Ann", b'b@x,"Bob" the builder', b"c@x,\xff\xfe", b'd@x,"Dan', b"e@x,Eve", b'f@x,"Fay"']
    assert read(b"\n".join(lines)) == [
        ["a@x", "Ann"],
        "malformed_quotes",
        "invalid_encoding",
        "malformed_quotes",
        ["e@x", "Eve"],
        ["f@x", "Fay"],
    ]


@pytest.mark.parametrize("size", [0, 1000, 4096])
def test_a_quote_that_is_never_closed_costs_one_row(size: int) -> None:
    rest = b"".join(b"user%d@example.com,Name\n" % number for number in range(3000))
    found = read(b'a@x,Ann\nb@x,"Bob\n' + rest, size=size)
    assert found[:3] == [["a@x", "Ann"], "unclosed_quote", ["user0@example.com", "Name"]]
    assert len(found) == 3002
    assert "unclosed_quote" not in found[2:]


def test_a_quote_that_is_not_closed_in_the_last_line_costs_that_line() -> None:
    assert read(b'a@x,Ann\nb@x,"Bob\nc@x,Cleo\n') == [["a@x", "Ann"], "unclosed_quote", ["c@x", "Cleo"]]


@pytest.mark.parametrize("size", [0, 1000, MAX_ROW_BYTES])
@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_line_that_is_too_long_costs_one_row(size: int, quote: bytes) -> None:
    long = b"b@x," + quote + b"y" * (3 * MAX_ROW_BYTES) + quote
    assert read(b"a@x,Ann\n" + long + b"\nc@x,Cleo\n", size=size) == [["a@x", "Ann"], "row_too_long", ["c@x", "Cleo"]]
    assert read(b"a@x,Ann\n" + long, size=size) == [["a@x", "Ann"], "row_too_long"]


def test_a_value_may_have_many_lines_but_not_any_number() -> None:
    def of(lines: int) -> bytes:
        return b'a@x,"' + b"line\n" * (lines - 1) + b'end"\nb@x,Bob\n'

    assert [len(row) for row in read(of(MAX_ROW_LINES))] == [2, 2]
    assert read(of(MAX_ROW_LINES + 1))[0] == "unclosed_quote"


def test_nul_bytes_and_empty_lines_do_not_disturb() -> None:
    assert read(b"\n\r\na@x,A\0nn\n,,\n\n\nb@x,Bob") == [["a@x", "A\0nn"], ["b@x", "Bob"]]


def _growth(pieces: int, block: bytes) -> tuple[int, int]:
    """Read a generated file; return how many rows it had and by how much the memory of the process grew meanwhile."""
    reader = RowReader("utf-8", ",")
    piece = (block * (PIECE // len(block) + 1))[:PIECE]
    process = psutil.Process()
    before = most = process.memory_info().rss
    rows = 0
    for number in range(pieces):
        for index, _ in enumerate(reader.read(piece, last=number == pieces - 1)):
            rows += 1
            if index == 0:
                most = max(most, process.memory_info().rss)
    return rows, most - before


@pytest.mark.parametrize("block", [b"user@example.com,Ann,Lee,Paris\n", b"y"], ids=["rows", "one line"])
def test_a_file_of_100_megabytes_is_read_within_little_memory(block: bytes) -> None:
    rows, growth = _growth(400, block)
    assert rows >= (3_000_000 if len(block) > 1 else 1)
    assert growth < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "block",
    [b"\n", b'"y\n', b'a"b,"c\n', b"\r", b'""""', b"\0", b"\xff\n"],
    ids=["empty lines", "open quotes", "crossed quotes", "CR", "quotes", "NUL", "not UTF-8"],
)
def test_a_file_that_was_made_to_do_harm_is_read_within_little_memory(block: bytes) -> None:
    _, growth = _growth(4, block)
    assert growth < 64 * 1024 * 1024


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_and_the_columns_are_found(delimiter: str) -> None:
    head = delimiter.join(['"Post"', "First Name", "city", "", "plan"]).encode() + b"\r\na@x\r\n"
    with pytest.raises(MissingEmailColumn):
        header_of(head, "utf-8", None, whole=True)
    head = head.replace(b"Post", b" E-Mail ")
    header = header_of(head, "utf-8", None, whole=True)
    assert (header.delimiter, header.columns) == (delimiter, ("email", "first_name", "city", "", "plan"))
    assert head[header.end :] == b"a@x\r\n"


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"", UnreadableFile),
        (b"\n\n", UnreadableFile),
        (b"PK\x03\x04\0\0\0\n", UnreadableFile),
        (b"email,name\0\n", UnreadableFile),
        (b'email,"name\nx', UnreadableFile),
        (b"address,name\n", MissingEmailColumn),
        (b"email;first!\n", InvalidColumn),
        ("email,prénom\n".encode(), InvalidColumn),
        (b"email,name,Name\n", DuplicateColumn),
        (b"email" + b",x" * 300 + b"\n", TooManyColumns),
        (b"email," + b"x" * MAX_ROW_BYTES + b"\n", UnreadableFile),
    ],
)
def test_a_wrong_header_is_told_at_once(head: bytes, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        header_of(head, "utf-8", None, whole=True)


def test_a_first_line_without_end_is_told() -> None:
    head = b"email,name" * 20_000
    with pytest.raises(UnreadableFile, match="too long"):
        header_of(head, "utf-8", None, whole=False)


def _taken(data: bytes, charset: str | None = None, size: int = 7) -> str:
    transcoder = Transcoder(charset)
    size = max(size, 4)
    parts = [
        transcoder.feed(data[begin : begin + size], last=begin + size >= len(data))
        for begin in range(0, max(len(data), 1), size)
    ]
    return b"".join(parts).decode(transcoder.encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_encodings_are_detected(encoding: str) -> None:
    text = "email,name\n" + "ada@example.com,Adélaïde Müller\n" * 40
    assert _taken(text.encode(encoding)).lstrip("\ufeff") == text


def test_an_encoding_that_is_named_is_believed_but_for_utf_8() -> None:
    assert _taken("email\nŁukasz\n".encode("cp1250"), "windows-1250") == "email\nŁukasz\n"
    assert _taken("email\nAdélaïde\n".encode("cp1252"), "utf-8") == "email\nAdélaïde\n"
    for charset in ("shift_jis", "hex", "no-such-thing"):
        with pytest.raises(UnreadableFile):
            Transcoder(charset)


def test_what_is_broken_in_utf_16_makes_its_row_broken() -> None:
    transcoder = Transcoder(None)
    text = "email\nada@example.com\nX\nbob@example.com\n".encode("utf-16").replace("X".encode("utf-16-le"), b"\x00\xdc")
    made = transcoder.feed(text, last=True)
    assert read(made, encoding=transcoder.encoding) == [
        ["email"],
        ["ada@example.com"],
        "invalid_encoding",
        ["bob@example.com"],
    ]


def test_one_bad_byte_does_not_change_the_encoding_of_a_whole_file() -> None:
    text = "email,name\n" + "ada@example.com,Adélaïde\n" * 40
    transcoder = Transcoder(None)
    transcoder.feed(text.encode() + b"eve@example.com,\xe9ve\n", last=True)
    assert transcoder.encoding == "utf-8"
