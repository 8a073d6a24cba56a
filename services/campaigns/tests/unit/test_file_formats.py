"""NDJSON, gzip, and what the beginning of a file says."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_campaigns.domain.column_names import suggested_columns
from posthorn_campaigns.domain.csv_files import BrokenRow
from posthorn_campaigns.domain.csv_header import glimpse_of, header_of
from posthorn_campaigns.domain.errors import DuplicateColumn, MissingEmailColumn, UnknownColumn, UnreadableFile
from posthorn_campaigns.domain.gzip_files import Unpacker
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow
from posthorn_campaigns.domain.ndjson_files import MAX_LINE_BYTES, ObjectReader
from posthorn_campaigns.domain.ndjson_rows import ContactsOfObjects
from posthorn_common.addresses import normalise_address

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.lists(st.dictionaries(st.text(max_size=8), _JSON, max_size=4), max_size=8)


def _objects(data: bytes, size: int, offset: int = 0) -> list[tuple[Any, int]]:
    reader = ObjectReader("utf-8", offset)
    found: list[tuple[Any, int]] = []
    for begin in range(offset, max(len(data), 1), size):
        rows = reader.read(data[begin : begin + size], last=begin + size >= len(data))
        found.extend((row.code if isinstance(row, BrokenRow) else row, reader.offset) for row in rows)
    assert reader.offset == len(data)
    return found


@given(objects=_OBJECTS, newline=st.sampled_from(["\n", "\r\n", "\n\n"]), size=st.integers(1, 40), escape=st.booleans())
def test_objects_come_back_from_pieces_of_any_size_and_from_any_row_on(
    objects: list[dict[str, Any]], newline: str, size: int, escape: bool
) -> None:
    data = newline.join(json.dumps(item, ensure_ascii=escape) for item in objects).encode("utf-8", "surrogatepass")
    found = _objects(data, size)
    assert [row for row, _ in found] == objects
    for index, (_, offset) in enumerate(found):
        assert [row for row, _ in _objects(data, size, offset)] == objects[index + 1 :], "resumed after a row"


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_line_that_is_no_object_costs_one_row(size: int) -> None:
    lines = [
        b'\xef\xbb\xbf{"email": "a@x"}',
        b"[1]",
        b"{",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"b": 1}',
    ]
    assert [row for row, _ in _objects(b"\n".join(lines), max(size, 997) if size == 7 else size or 1)] == [
        {"email": "a@x"},
        "invalid_json",
        "invalid_json",
        "invalid_json",
        "invalid_encoding",
        "invalid_json",
        {"b": 1},
    ]


@pytest.mark.parametrize("size", [1000, MAX_LINE_BYTES, 1 << 22])
def test_a_line_that_is_too_long_costs_one_row_and_no_memory(size: int) -> None:
    long = b'{"a": "' + b"x" * (3 * MAX_LINE_BYTES) + b'"}'
    for data in (b'{"n": 1}\n' + long + b'\n{"n": 2}', b'{"n": 1}\n' + long):
        rows = [row for row, _ in _objects(data, size)]
        assert rows == [{"n": 1}, "row_too_long", {"n": 2}][: len(rows)]
        assert len(rows) == 2 + data.endswith(b"2}")


def _of(given_object: dict[str, Any], mapping: dict[str, str | None] | None = None) -> ImportedContact | RejectedRow:
    return ContactsOfObjects(mapping or {}, {}, normalise_address)(3, given_object)


def test_an_object_is_a_contact_whose_attributes_keep_their_types() -> None:
    assert _of(
        {"E-Mail": " Ada@Example.com", "First Name": " Ada ", "visits": 3, "nil": None, "attributes": {"Vip": True}}
    ) == ImportedContact(3, "ada@example.com", "Ada", "", None, None, {"visits": 3, "Vip": True})
    mapping = {"Adresse": "email", "Stadt": "city", "Notiz": None}
    found = _of({"Adresse": "ada@example.com", "Stadt": "Rom", "Notiz": "x", "tags": ["a"]}, mapping)
    assert found == ImportedContact(3, "ada@example.com", "", "", None, None, {"city": "Rom", "tags": ["a"]})


@pytest.mark.parametrize(
    ("given_object", "column", "code"),
    [
        ({}, "email", "invalid_email"),
        ({"email": 7}, "email", "wrong_type"),
        ({"email": "a@example.com", "first_name": ["Ada"]}, "first_name", "wrong_type"),
        ({"email": "a@example.com", "first_name": "A\nda"}, "first_name", "control_characters"),
        ({"email": "a@example.com", "a!": 1}, "", "invalid_column"),
        ({"email": "a@example.com", "city": "x", "City": "y"}, "city", "duplicate_column"),
        ({"email": "a@example.com", "attributes": {"email": "b@example.com"}}, "email", "duplicate_column"),
        ({"email": "a@example.com", "city": "\ud800"}, "city", "control_characters"),
        ({"email": "a@example.com", "deep": [[[[[[1]]]]]]}, "", "invalid_attributes"),
        ({"email": "a@example.com", "big": 2**70}, "", "invalid_attributes"),
        ({"email": "\ud800@example.com"}, "email", "invalid_email"),
    ],
)
def test_an_object_that_is_no_contact_is_rejected(given_object: dict[str, Any], column: str, code: str) -> None:
    found = _of(given_object)
    assert isinstance(found, RejectedRow)
    assert (found.row, found.column, found.code) == (3, column, code)


@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=3), size=st.integers(1, 50), zeros=st.integers(0, 9)
)
def test_gzip_is_unpacked_from_pieces_of_any_size(parts: list[bytes], size: int, zeros: int) -> None:
    packed = b"".join(gzip.compress(part) for part in parts) + bytes(zeros)
    unpacker = Unpacker()
    pieces = [packed[begin : begin + size] for begin in range(0, len(packed), size)]
    assert b"".join(block for piece in pieces for block in unpacker.feed(piece)) == b"".join(parts)
    unpacker.end()


def test_a_bomb_is_unpacked_in_small_steps() -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)
    tracemalloc.start()
    total = sum(len(block) for block in Unpacker().feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 200 * 1024 * 1024
    assert peak < 2 * len(bomb) + 1024 * 1024


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:20] + b"xx" + data[22:]])
def test_damaged_gzip_is_told(damage: Any) -> None:
    def unpack(data: bytes) -> None:
        unpacker = Unpacker()
        list(unpacker.feed(data))
        unpacker.end()

    packed = gzip.compress(b"email\n" + bytes(range(256)) * 9)
    unpack(packed)
    with pytest.raises(UnreadableFile):
        unpack(damage(packed))


def test_what_other_systems_call_their_columns_is_recognised_and_nothing_is_suggested_twice() -> None:
    header = ["E-Mail Adresse", "Vorname", "Nachname", "Straße & Nr.", "", "Ort", "Prénom", "ort", "邮"]
    assert suggested_columns(header) == (
        "email", "first_name", "last_name", "strasse_nr", None, "ort", "prenom", None, None,
    )  # fmt: skip


def test_a_glimpse_shows_rows_and_a_mapping_that_the_import_takes() -> None:
    head = "Mail;Vorname;Über uns\nada@x;Ada;1,5\ngrace@x;Grace;2,5\n".encode()
    glimpse = glimpse_of(head, "utf-8", None, 1, whole=True)
    assert (glimpse.delimiter, glimpse.names) == (";", ("Mail", "Vorname", "Über uns"))
    assert glimpse.samples == (("ada@x", "Ada", "1,5"),)
    with pytest.raises(MissingEmailColumn):
        header_of(head, "utf-8", None, whole=True)
    mapping = dict(zip(glimpse.names, glimpse.suggested, strict=True))
    header = header_of(head, "utf-8", None, whole=True, mapping=mapping)
    assert header.columns == ("email", "first_name", "uber_uns")


def test_a_mapping_must_fit_the_file() -> None:
    head = b"email,mail\na@x,b@x\n"
    with pytest.raises(UnknownColumn):
        header_of(head, "utf-8", None, whole=True, mapping={"Mail": "email"})
    with pytest.raises(DuplicateColumn):
        header_of(head, "utf-8", None, whole=True, mapping={"mail": "email"})
    swapped = header_of(head, "utf-8", None, whole=True, mapping={"mail": "email", "email": None})
    assert swapped.columns == ("", "email")
