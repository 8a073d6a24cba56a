"""Whom an address stands for."""

from __future__ import annotations

from posthorn_common.http.clients import address_group


def test_addresses_are_counted_by_customer() -> None:
    assert address_group("203.0.113.9") == "203.0.113.9"
    assert address_group("2001:db8::1") == address_group("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_group("::ffff:203.0.113.9") == "203.0.113.9"
    assert address_group("") == ""
