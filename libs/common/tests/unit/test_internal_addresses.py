"""Which addresses are inside, however they are written."""

from __future__ import annotations

import pytest

from posthorn_common.internal_addresses import is_internal_address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "ff02::1",
        "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "::7f00:1", "::ffff:0:10.0.0.1", "fec0::1", "not an address",
    ],
)  # fmt: skip
def test_these_addresses_are_internal(address: str) -> None:
    assert is_internal_address(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_these_addresses_are_not(address: str) -> None:
    assert not is_internal_address(address)
