"""Which headers pass the gateway, which stop here, which it writes itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from multidict import CIMultiDict
from starlette.types import Scope

RawHeaders = Iterable[tuple[bytes, bytes]]

# RFC 9110 §7.6.1, and what older software sends besides.
_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# Written anew for the service, or meant for this server.
_OURS = frozenset(
    {b"host", b"expect", b"authorization", b"forwarded", b"x-real-ip", b"x-request-id", b"traceparent", b"via"}
)
# What programs behind a gateway believe about a caller: nobody outside may say it.
_INTERNAL_PREFIXES = (
    b"x-forwarded-", b"x-user-", b"x-organisation-", b"x-organization-", b"x-auth-", b"x-internal-", b"x-posthorn-",
    b"x-service-", b"x-original-", b"x-rewrite-",
)  # fmt: skip
_TOLD_BY_PROXIES = frozenset({b"x-forwarded-for", b"x-real-ip", b"forwarded", b"via"})
# The gateway alone says which pages may read an answer.
_NOT_RETURNED = frozenset(
    {b"server", b"date", b"x-request-id", b"x-powered-by", b"access-control-allow-origin",
     b"access-control-allow-credentials", b"access-control-expose-headers"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a request comes from, as far as trusted proxies tell."""

    address: str
    scheme: str
    host: str


class ClientReader:
    """Reads where a request comes from; what a header tells counts only when a trusted proxy sent it.

    Which header the proxies write must be known: the other one passes through them as the client made it up.
    """

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network], *, reads_forwarded: bool = False) -> None:
        """`reads_forwarded`: the proxies write Forwarded (RFC 7239), not X-Forwarded-*."""
        self._trusted = tuple(trusted)
        self._reads_forwarded = reads_forwarded

    def read(self, scope: Scope, host: str) -> Client:
        """Return the client of a request."""
        peer = scope["client"][0] if scope.get("client") else ""
        if not self._trusted or not self._is_trusted(peer):
            return Client(peer, scope["scheme"], host)
        told = _told_by_forwarded(scope) if self._reads_forwarded else _told_by_x_forwarded(scope)
        return Client(
            self._nearest_stranger(told.chain, peer),
            told.scheme if told.scheme in {"http", "https"} else scope["scheme"],
            told.host or host,
        )

    def is_inside(self, scope: Scope) -> bool:
        """Tell whether a request comes from this machine or a private network, and through no proxy."""
        peer = _parsed(scope["client"][0] if scope.get("client") else "")
        through_proxy = any(name in _TOLD_BY_PROXIES for name, _value in scope["headers"])
        return peer is not None and peer.is_private and not through_proxy

    def _nearest_stranger(self, chain: list[str], peer: str) -> str:
        """Return the last address of the chain that is not a proxy of ours: what stands before it may be made up."""
        address = peer
        for item in reversed(chain):
            parsed = _parsed(item)
            if parsed is None:
                break
            address = str(parsed)
            if not self._is_trusted(address):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


@dataclass(frozen=True, slots=True)
class _Told:
    """What proxies tell: the addresses that a request came through, the farthest first, and how it began."""

    chain: list[str]
    scheme: str
    host: str


def _values(scope: Scope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for found, value in scope["headers"] if found == name)


def _told_by_x_forwarded(scope: Scope) -> _Told:
    return _Told(
        [item.strip() for item in _values(scope, b"x-forwarded-for").split(",")],
        _values(scope, b"x-forwarded-proto").strip().lower(),
        _values(scope, b"x-forwarded-host").strip(),
    )


def _told_by_forwarded(scope: Scope) -> _Told:
    """Read RFC 7239. Scheme and host are those that the nearest proxy tells."""
    elements = [
        {name.strip().lower(): value.strip().strip('"') for name, _, value in (pair.partition("=") for pair in pairs)}
        for pairs in (element.split(";") for element in _values(scope, b"forwarded").split(","))
    ]
    nearest = elements[-1]
    chain = [_node(element.get("for", "")) for element in elements]
    return _Told(chain, nearest.get("proto", "").lower(), nearest.get("host", ""))


def _node(text: str) -> str:
    """Return the address of `192.0.2.1:80`, `[2001:db8::1]:80` or `192.0.2.1`; names and `unknown` are no address."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, an IPv4 one also where IPv6 wraps it; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def request_headers(
    headers: RawHeaders, client: Client, *, access_token: str | None, request_id: str, traceparent: str
) -> CIMultiDict[str]:
    """Return the headers for the service."""
    dropped = _HOP_BY_HOP | _OURS | _named_by_connection(headers)
    passed: CIMultiDict[str] = CIMultiDict(
        (name.decode("latin-1"), _text(value))
        for name, value in headers
        if name not in dropped and not name.startswith(_INTERNAL_PREFIXES)
    )
    if access_token is not None:
        passed["Authorization"] = f"Bearer {access_token}"
    passed["X-Request-ID"] = request_id
    passed["traceparent"] = traceparent
    passed["X-Forwarded-For"] = client.address
    passed["X-Forwarded-Proto"] = client.scheme
    passed["X-Forwarded-Host"] = client.host
    return passed


def response_headers(headers: RawHeaders, own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers for the client: the service's, and the gateway's own where the service has none such.

    `Vary` is a list that both add to.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _HOP_BY_HOP | _NOT_RETURNED | _named_by_connection(lowered)
    passed = [item for item in lowered if item[0] not in dropped]
    present = {name for name, _value in passed}
    return passed + [item for item in own if item[0] not in present or item[0] == b"vary"]


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    )


def _text(value: bytes) -> str:
    """Return the text that is sent as these bytes again."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
