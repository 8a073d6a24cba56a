"""What somebody's identity provider may answer instead of what it should: nothing of it may harm us."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from posthorn_auth.adapters import oidc
from posthorn_auth.adapters.oidc import HttpOidcClient
from posthorn_auth.domain.errors import IssuerNotUsable

pytestmark = pytest.mark.integration
GUARD_SECONDS = 60


@dataclass
class Peer:
    """An HTTP server that answers every request with the bytes of the test, and drips on if it is told so."""

    answer: bytes = b""
    drips: bool = False
    requests: list[bytes] = field(default_factory=list)
    serving: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0

    def issuer(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def discovery(self, name: str = "", **changes: object) -> bytes:
        endpoints = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), self.issuer("endpoint"))
        return json.dumps({"issuer": self.issuer(name), **endpoints, **changes}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            while self.drips:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()


def _answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Connection: close", b"Content-Type: application/json", *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@pytest_asyncio.fixture
async def peer() -> AsyncGenerator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer
    peer.drips = False
    for writer in peer.serving:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[HttpOidcClient]:
    async with httpx.AsyncClient() as http:
        yield HttpOidcClient(http, allow_private=True)


async def test_an_answer_that_drips_for_ever_is_not_waited_for(
    peer: Peer, client: HttpOidcClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_SECONDS", 0.3)
    peer.answer, peer.drips = _answer(b""), True
    async with asyncio.timeout(GUARD_SECONDS):
        with pytest.raises(IssuerNotUsable, match="too slow"):
            await client.check(peer.issuer())


async def test_a_compressed_answer_is_neither_asked_for_nor_unpacked(peer: Peer, client: HttpOidcClient) -> None:
    peer.answer = _answer(gzip.compress(peer.discovery()), b"Content-Encoding: gzip")
    with pytest.raises(IssuerNotUsable, match="not JSON"):
        await client.check(peer.issuer())
    assert b"accept-encoding: identity\r\n" in peer.requests[0].lower()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{" + b" " * (oidc._LARGEST_ANSWER), "too large"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "another issuer"),
    ],
)
async def test_an_answer_that_is_no_document_is_refused(
    peer: Peer, client: HttpOidcClient, body: bytes, reason: str
) -> None:
    peer.answer = _answer(body)
    with pytest.raises(IssuerNotUsable, match=reason):
        await client.check(peer.issuer())


@pytest.mark.parametrize("endpoint", [None, "", 1, ["https://login.example.com"], "https://" + "a" * 2000])
async def test_endpoints_that_are_none_are_refused(peer: Peer, client: HttpOidcClient, endpoint: object) -> None:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        peer.answer = _answer(peer.discovery(**{name: endpoint}))
        with pytest.raises(IssuerNotUsable, match="lacks an endpoint"):
            await client.check(peer.issuer())


async def test_a_page_that_would_run_in_the_users_browser_is_refused(peer: Peer, client: HttpOidcClient) -> None:
    peer.answer = _answer(peer.discovery(authorization_endpoint="javascript:alert(1)"))
    with pytest.raises(IssuerNotUsable, match="https://"):
        await client.check(peer.issuer())


async def test_redirects_are_not_followed(peer: Peer, client: HttpOidcClient) -> None:
    peer.answer = _answer(b"", b"Location: " + peer.issuer("elsewhere").encode(), status=b"302 Found")
    with pytest.raises(IssuerNotUsable, match="302"):
        await client.check(peer.issuer())
    assert len(peer.requests) == 1


async def test_of_many_providers_the_metadata_of_some_are_remembered(
    peer: Peer, client: HttpOidcClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_KNOWN_PROVIDERS", 2)
    for name in ("a", "b", "a", "c", "a", "b"):
        peer.answer = _answer(peer.discovery(name))
        await client.check(peer.issuer(name))
    asked = [request.split(b"/")[1].decode() for request in peer.requests]
    assert asked == ["a", "b", "c", "b"], "the one that was used longest ago was forgotten"
