"""Where a request comes from."""

from __future__ import annotations

import pytest

from posthorn_gateway.entrypoints.http.headers import ClientReader


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True), ("::1", True), ("10.1.2.3", True), ("172.18.0.1", True), ("192.168.1.9", True),
        ("fd12::7", True), ("::ffff:10.1.2.3", True),
        ("8.8.8.8", False), ("::ffff:8.8.8.8", False), ("2a00:1450::8", False), ("", False), ("nowhere", False),
    ],
)  # fmt: skip
def test_only_private_addresses_are_inside(address: str, inside: bool) -> None:
    assert ClientReader(()).is_inside({"client": (address, 40_000), "headers": []}) is inside
