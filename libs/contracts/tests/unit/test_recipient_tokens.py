"""Tokens in links can be made only by us."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_contracts.recipient_tokens import InvalidRecipientToken, RecipientToken

SECRET = b"s" * 32


def test_a_token_names_its_recipient_again() -> None:
    recipient = RecipientToken(campaign_id=uuid4(), contact_id=uuid4())
    token = recipient.sign(SECRET)
    assert RecipientToken.verify(token, SECRET) == recipient
    assert len(token) == 66


def test_another_secret_makes_another_token() -> None:
    token = RecipientToken(campaign_id=uuid4(), contact_id=uuid4()).sign(SECRET)
    with pytest.raises(InvalidRecipientToken):
        RecipientToken.verify(token, b"t" * 32)


@given(st.integers(min_value=0, max_value=49 * 8 - 1))
def test_no_bit_of_a_token_can_be_changed(bit: int) -> None:
    token = RecipientToken(campaign_id=uuid4(), contact_id=uuid4()).sign(SECRET)
    raw = bytearray(base64.urlsafe_b64decode(token + "=="))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidRecipientToken):
        RecipientToken.verify(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), SECRET)


@given(st.text(max_size=200))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    with pytest.raises(InvalidRecipientToken):
        RecipientToken.verify(text, SECRET)
