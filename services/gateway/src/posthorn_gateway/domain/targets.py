"""Which request targets are passed on: only those that every program on the way reads alike."""

from __future__ import annotations

import re

from posthorn_gateway.domain.errors import InvalidHost, InvalidTarget

# A segment of RFC 3986 without backslash, dot, slash and control characters in percent-encoding: a program that
# decodes before it splits or compares would see another path than the one that was checked.
_SEGMENT = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%(?!2[EeFf]|5[Cc]|[01]|7[Ff])[0-9A-Fa-f]{2})+"
_PATH = re.compile(rf"(?=/)(?:/(?!\.\.?(?:/|$)){_SEGMENT})*/?")
_QUERY = re.compile(r"[\x21\x24-\x7e]*")  # RFC 3986, and what browsers send besides; no space, no quote, no fragment
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]{1,253})(?::[0-9]{1,5})?")

MAX_PATH_CHARACTERS = 4096
MAX_QUERY_CHARACTERS = 8192


def checked_target(raw_path: bytes, query: bytes) -> str:
    """Return path and query to pass on, exactly as they came. Raises InvalidTarget."""
    path = checked_path(raw_path)
    if not query:
        return path
    text = query.decode("latin-1")
    if len(text) > MAX_QUERY_CHARACTERS or not _QUERY.fullmatch(text):
        raise InvalidTarget("The query is not valid.")
    return f"{path}?{text}"


def checked_path(raw_path: bytes) -> str:
    """Return the path, not decoded. Raises InvalidTarget."""
    path = raw_path.decode("latin-1")
    if len(path) > MAX_PATH_CHARACTERS or not _PATH.fullmatch(path):
        raise InvalidTarget("The path is not valid.")
    return path


def checked_host(hosts: list[str], allowed: frozenset[str]) -> str:
    """Return the Host header's value. Raises InvalidHost; `allowed` are names without port, empty for any."""
    if len(hosts) != 1 or (parts := _HOST.fullmatch(hosts[0])) is None:
        raise InvalidHost("The Host header is not valid.")
    if allowed and parts["name"].lower() not in allowed:
        raise InvalidHost("This host is not served here.")
    return hosts[0]
