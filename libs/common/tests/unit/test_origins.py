"""Origins of web pages."""

from __future__ import annotations

import pytest

from posthorn_common.origins import InvalidOrigin, checked_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(text: str, origin: str) -> None:
    assert checked_origin(text) == origin
    assert checked_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "null", "NULL", "app.example.com", "https://", "https://*", "https://*.example.com",
        "//app.example.com",
        "https://app.example.com/", "https://app.example.com/page", "https://app.example.com?", "https://app.example.com#",
        "https://ada@app.example.com", "https://:@app.example.com", "https://app.example.com:",
        "https://app.example.com:0x50",
        "https://app.example.com:99999", "http://app.example.com", "http://localhost.example.com", "ftp://app.example.com",
        "chrome-extension://abc", "file://", "https://bücher.example", "https://app.example.com ", " https://app.example.com",
        "https://app.exa\nmple.com", "https://app.example.com\r\nX-Other: 1", "https://[::1", "https://" + "a" * 300,
        "https://a.example,https://b.example", "https://a.example https://b.example", "https://a.example\\b",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidOrigin):
        checked_origin(text)
