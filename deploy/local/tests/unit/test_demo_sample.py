"""The demo's sample audience and letter."""

from __future__ import annotations

import csv
import io

from posthorn_local.demo import sample


def test_the_sample_has_the_wanted_number_of_different_addresses() -> None:
    rows = list(csv.DictReader(io.StringIO(sample.contacts_csv(1000, run=1).decode())))
    assert len({row["email"] for row in rows}) == 1000
    assert all(row["first_name"] and row["plan"] and row["city"] for row in rows)


def test_no_address_belongs_to_a_real_domain() -> None:
    rows = list(csv.DictReader(io.StringIO(sample.contacts_csv(100, run=1).decode())))
    assert {row["email"].partition("@")[2] for row in rows} == {"example.com", "example.org", "example.net"}


def test_runs_share_no_address_and_no_subject() -> None:
    assert set(sample.contacts_csv(50, run=1).split()[1:]).isdisjoint(sample.contacts_csv(50, run=11).split()[1:])
    assert sample.subject_mark(1) not in sample.subject(11)
