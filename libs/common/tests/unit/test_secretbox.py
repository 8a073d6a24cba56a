"""Secrets at rest."""

from __future__ import annotations

import pytest

from posthorn_common.secretbox import SecretBox, SecretUnreadable

BOX = SecretBox(b"k" * 32)


def test_what_was_sealed_can_be_opened_for_the_same_purpose_only() -> None:
    sealed = BOX.seal(b"password", purpose="relay 1")
    assert b"password" not in sealed
    assert BOX.open(sealed, purpose="relay 1") == b"password"
    with pytest.raises(SecretUnreadable):
        BOX.open(sealed, purpose="relay 2")


def test_the_same_secret_never_looks_the_same() -> None:
    assert BOX.seal(b"password", purpose="p") != BOX.seal(b"password", purpose="p")


@pytest.mark.parametrize("damage", [b"", b"\x02", b"\x01short"])
def test_damaged_or_foreign_ciphertext_is_refused(damage: bytes) -> None:
    with pytest.raises(SecretUnreadable):
        BOX.open(damage, purpose="p")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SecretUnreadable):
        SecretBox(b"x" * 32).open(BOX.seal(b"password", purpose="p"), purpose="p")
