"""CSV for spreadsheets."""

from __future__ import annotations

from posthorn_common.http.csv_rows import csv_lines


def test_spreadsheets_run_nothing() -> None:
    cells = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "a=1", "", 5, -5]
    assert csv_lines([cells]) == "'=1+1,'+1,'-1,'@a,'\tx,\"'\rx\",a=1,,5,-5\r\n"
