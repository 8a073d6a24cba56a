"""The report of rejected rows as a CSV file."""

from __future__ import annotations

import csv
import io

import pytest

from posthorn_campaigns.domain.csv_writing import csv_lines


@pytest.mark.parametrize("cell", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx", "\uff1dx"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert list(csv.reader(io.StringIO(csv_lines([[7, cell]]), newline=""))) == [["7", f"'{cell}"]]


def test_other_cells_are_as_they_are() -> None:
    cells = ["plain", 'with "quotes", commas\r\nand lines', ""]
    assert list(csv.reader(io.StringIO(csv_lines([cells]), newline=""))) == [cells]
