"""Which paths, queries and hosts are passed on."""

from __future__ import annotations

from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_gateway.domain.errors import InvalidHost, InvalidTarget
from posthorn_gateway.domain.targets import checked_host, checked_path, checked_target


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (b"/", b""),
        (b"/v1/contacts", b"limit=2&filter[name]=a,b&q=%00%0d%2F..//"),
        (b"/v1/suppressions/ada%2Btag%40example.com", b""),
        (b"/v1/a%25b/...hidden/a.b/~x", b"a='1'"),
        (b"/v1/contacts/", b"?"),
    ],
)
def test_targets_pass_exactly_as_they_came(path: bytes, query: bytes) -> None:
    expected = path + (b"?" + query if query else b"")
    assert checked_target(path, query) == expected.decode()


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (b"", b""), (b"v1", b""), (b"//", b""), (b"/a//b", b""), (b"/.", b""), (b"/..", b""), (b"/a/../b", b""),
        (b"/a/./b", b""), (b"/%2e%2e/a", b""), (b"/.%2E/a", b""), (b"/a%2fb", b""), (b"/a%5Cb", b""), (b"/a\\b", b""),
        (b"/a%00", b""), (b"/a%1f", b""), (b"/a%7F", b""), (b"/a%", b""), (b"/a%g0", b""), (b"/a b", b""),
        (b"/a\r\nb", b""), (b"/\xc3\xa9", b""), (b"/a;b?c", b""), (b"/a|b", b""), (b"/a", b"a b"), (b"/a", b"a\r\nb"),
        (b"/a", b"\xc3\xa9"), (b"/a", b"a#b"), (b"/" + b"a" * 5000, b""), (b"/a", b"a" * 9000),
    ],
)  # fmt: skip
def test_other_targets_are_refused(path: bytes, query: bytes) -> None:
    with pytest.raises(InvalidTarget):
        checked_target(path, query)


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"/(?:[a-z.%/\\]|%2e|%2F|\.\.){0,12}", fullmatch=True)))
def test_what_is_accepted_has_no_second_reading(path: bytes) -> None:
    try:
        accepted = checked_path(path)
    except InvalidTarget:
        return
    decoded = unquote(accepted, errors="surrogateescape")
    assert normpath(decoded) == (decoded.rstrip("/") or "/")
    assert decoded.count("/") == accepted.count("/")


def test_hosts() -> None:
    assert checked_host(["example.com:80"], frozenset()) == "example.com:80"
    assert checked_host(["[::1]:8080"], frozenset()) == "[::1]:8080"
    assert checked_host(["Example.com"], frozenset({"example.com"})) == "Example.com"
    for hosts in ([], ["a", "a"], [""], ["a/b"], ["a@b"], ["a b"], ["a:b"], ["a,b"], ["example.com.evil"]):
        with pytest.raises(InvalidHost):
            checked_host(hosts, frozenset({"example.com", "a"}))
