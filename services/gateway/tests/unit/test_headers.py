"""Where a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

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


def _client(headers: dict[str, str], *, reads_forwarded: bool, peer: str = "10.0.0.1") -> tuple[str, str, str]:
    reader = ClientReader([ip_network("10.0.0.0/8")], reads_forwarded=reads_forwarded)
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    client = reader.read({"client": (peer, 40_000), "headers": raw, "scheme": "http"}, "here")
    return client.address, client.scheme, client.host


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("for=203.0.113.9;proto=https;host=mail.example", ("203.0.113.9", "https", "mail.example")),
        ('for=6.6.6.6, For="203.0.113.9:47011", for=10.1.2.3;proto=https', ("203.0.113.9", "https", "here")),
        ('for="[2001:db8::7]:443"', ("2001:db8::7", "http", "here")),
        ("for=6.6.6.6, for=unknown", ("10.0.0.1", "http", "here")),
        ("for=_hidden;proto=gopher", ("10.0.0.1", "http", "here")),
        ("", ("10.0.0.1", "http", "here")),
        (';;=,"', ("10.0.0.1", "http", "here")),
    ],
)
def test_forwarded_tells_the_nearest_stranger(forwarded: str, expected: tuple[str, str, str]) -> None:
    assert _client({"Forwarded": forwarded}, reads_forwarded=True) == expected


def test_only_the_header_that_the_proxies_write_is_believed() -> None:
    both = {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "203.0.113.9"}
    assert _client(both, reads_forwarded=False)[0] == "203.0.113.9"
    assert _client(both, reads_forwarded=True)[0] == "6.6.6.6"
    assert _client(both, reads_forwarded=True, peer="198.51.100.1")[0] == "198.51.100.1", "no proxy of ours"
