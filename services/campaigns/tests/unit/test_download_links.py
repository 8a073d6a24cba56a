"""Signed links to files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from posthorn_campaigns.domain.download_links import DownloadLink, InvalidDownloadLink

SECRET = b"a secret of thirty-two bytes or more"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LINK = DownloadLink(UUID(int=7), NOW + timedelta(minutes=15))


def test_a_link_is_good_until_it_expires() -> None:
    token = LINK.sign(SECRET)
    assert DownloadLink.verify(token, SECRET, NOW + timedelta(minutes=14, seconds=59)) == LINK
    with pytest.raises(InvalidDownloadLink):
        DownloadLink.verify(token, SECRET, NOW + timedelta(minutes=15))


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 54, "A" * 500, LINK.sign(b"another secret, as long as ours")])
def test_what_we_have_not_signed_is_refused(token: str) -> None:
    with pytest.raises(InvalidDownloadLink):
        DownloadLink.verify(token, SECRET, NOW)


def test_neither_file_nor_time_can_be_changed() -> None:
    mac = LINK.sign(SECRET)[32:]
    for forged in (replace(LINK, file_id=UUID(int=8)), replace(LINK, expires_at=NOW + timedelta(days=9))):
        with pytest.raises(InvalidDownloadLink):
            DownloadLink.verify(forged.sign(b"a secret of somebody else, quite long")[:32] + mac, SECRET, NOW)
