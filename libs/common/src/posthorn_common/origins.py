"""Origins of web pages (RFC 6454), as browsers write them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_MAX_CHARACTERS = 300
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# What a host has in the form that browsers send: names outside of ASCII come as `xn--…`.
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:[]")


class InvalidOrigin(ValueError):
    """The text is no origin that could be allowed; the message tells why."""


def checked_origin(text: str) -> str:
    """Return scheme, host and port in the one form in which browsers send them: lower case, no default port.

    A page without TLS can be changed by whoever is on its way, and would call with its user's token: `http` is for this
    machine only. Raises InvalidOrigin, also for `*` and `null`.
    """
    if not text or len(text) > _MAX_CHARACTERS:
        raise InvalidOrigin(f"must have 1 to {_MAX_CHARACTERS} characters")
    parts, host, port = _split(text)
    if parts.scheme not in _DEFAULT_PORTS or not host or not _HOST.issuperset(host):
        raise InvalidOrigin("must be scheme, host and port, such as https://app.example.com")
    if f"{parts.scheme}://{parts.netloc.lower()}" != text.lower():
        raise InvalidOrigin("must have nothing but scheme, host and port")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise InvalidOrigin("must begin with https, except on this machine (localhost)")
    suffix = "" if port is None or port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def _split(text: str) -> tuple[SplitResult, str, int | None]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidOrigin("is no URL") from error
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None or parts.netloc.endswith(":"):
        raise InvalidOrigin("must have nothing but scheme, host and port")
    return parts, f"[{host}]" if ":" in host else host, port
