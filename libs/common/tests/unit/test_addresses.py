"""What counts as an e-mail address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_common.addresses import InvalidAddress, domain_of, normalise_address


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("ada@example.com", "ada@example.com"),
        (" Ada.Lovelace+news@Example.COM ", "ada.lovelace+news@example.com"),
        ("o'neil@example.co.uk", "o'neil@example.co.uk"),
        ("jürgen@example.com", "jürgen@example.com"),
        ("ada@bücher.example", "ada@bücher.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
    ],
)
def test_an_address_is_normalised(text: str, normalised: str) -> None:
    assert normalise_address(text) == normalised


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "ada", "ada@", "@example.com", "ada@@example.com", "ada@example", "ada.@example.com",
        ".ada@example.com", "a..b@example.com", "a b@example.com", "ada@-example.com", "ada@example..com",
        "b@x.example\r\nRCPT TO:<v@x.example>", "b@x.example\nDATA", "b\0@x.example", "a@x.example, c@y.example",
        "<a@x.example> SIZE=1", "a@x.example>\t<v@x.example", "a@[127.0.0.1]", '"a b"@example.com',
        "a\u00a0b@example.com", "a\u200b@example.com", "ada@example.com.", "a" * 65 + "@example.com",
        "ada@" + "a" * 64 + ".example", "a@" + "b." * 130 + "example", "Ada <ada@example.com>",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        normalise_address(text)
    assert "@x.example" not in str(caught.value)


@given(st.text(max_size=80) | st.emails())
def test_nothing_that_passes_can_break_an_smtp_command(text: str) -> None:
    try:
        address = normalise_address(text)
    except InvalidAddress:
        return
    assert address.count("@") == 1
    assert not set(address) & set('\r\n\0\t <>,;:"()[]\\')
    assert normalise_address(address) == address


def test_the_domain_is_what_follows_the_at() -> None:
    assert domain_of("ada@example.com") == "example.com"
