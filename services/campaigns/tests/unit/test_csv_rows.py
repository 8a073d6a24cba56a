"""From rows to contacts."""

from __future__ import annotations

import pytest

from posthorn_campaigns.domain.csv_rows import ContactsOfRows
from posthorn_campaigns.domain.imports import ChunkOfRows, ImportedContact, ImportMode, RejectedRow
from posthorn_common.addresses import normalise_address

COLUMNS = ("email", "first_name", "last_name", "city", "")


def _of(*cells: str) -> ImportedContact | RejectedRow:
    return ContactsOfRows(COLUMNS, {}, normalise_address)(7, cells)


def test_a_good_row_is_a_contact_and_empty_cells_say_nothing() -> None:
    assert _of(" Ada@Example.COM ", " Ada ", "", "Rome\nItaly", "ignored") == ImportedContact(
        7, "ada@example.com", "Ada", "", None, None, {"city": "Rome\nItaly"}
    )
    assert _of("ada@example.com", "", "", "", "") == ImportedContact(7, "ada@example.com", "", "", None, None, {})


@pytest.mark.parametrize(
    ("cells", "column", "code"),
    [
        (("ada@example.com", "Ada"), "", "wrong_column_count"),
        (("ada@example.com", "Ada", "", "", "", "more"), "", "wrong_column_count"),
        (("", "Ada", "", "", ""), "email", "invalid_email"),
        (("nobody", "", "", "", ""), "email", "invalid_email"),
        (("a@example.com\r\nRCPT TO:<v@x>", "", "", "", ""), "email", "invalid_email"),
        (("a\0@example.com", "", "", "", ""), "email", "invalid_email"),
        (("ada@example.com", "Ada\nBcc: x", "", "", ""), "first_name", "control_characters"),
        (("ada@example.com", "", "\u202eecila", "", ""), "last_name", "control_characters"),
        (("ada@example.com", "", "", "Ro\0me", ""), "city", "control_characters"),
        (("ada@example.com", "x" * 201, "", "", ""), "first_name", "too_long"),
        (("ada@example.com", "", "", "x" * 10_001, ""), "city", "too_long"),
    ],
)
def test_a_bad_row_is_rejected_with_its_column_and_without_what_is_in_it(
    cells: tuple[str, ...], column: str, code: str
) -> None:
    rejected = _of(*cells)
    assert isinstance(rejected, RejectedRow)
    assert (rejected.row, rejected.column, rejected.code) == (7, column, code)
    assert "example.com" not in rejected.message


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            ImportMode.UPSERT,
            ImportedContact(3, "a@example.com", "Ann", "Lee", None, None, {"city": "Paris", "plan": "pro"}),
        ),
        (ImportMode.CREATE_ONLY, ImportedContact(1, "a@example.com", "Ann", "", None, None, {"city": "Rome"})),
    ],
)
def test_of_an_address_that_comes_again_the_mode_decides_what_counts(
    mode: ImportMode, expected: ImportedContact
) -> None:
    chunk = ChunkOfRows(mode, end=0)
    chunk.add(ImportedContact(1, "a@example.com", "Ann", "", None, None, {"city": "Rome"}))
    chunk.add(RejectedRow(2, "", "row_too_long", "is too long"))
    chunk.add(ImportedContact(3, "a@example.com", "", "Lee", None, None, {"city": "Paris", "plan": "pro"}))
    assert (chunk.rows_read, chunk.repeated, len(chunk.rejected)) == (3, 1, 1)
    assert list(chunk.contacts.values()) == [expected]
