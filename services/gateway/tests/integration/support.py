"""Services to stand behind the gateway, tokens that it accepts, and ways to talk to it byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from posthorn_common.testing import ISSUER
from posthorn_common.tokens import AUDIENCE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GUARD_SECONDS = 60.0


@dataclass
class Seen:
    """One request as a service got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class FakeService:
    """A real HTTP server that keeps what it is asked and answers as the test says."""

    name: str
    seen: list[Seen] = field(default_factory=list)
    handler: Handler | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application(client_max_size=2**31)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.handler is not None:
            return await self.handler(request)
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, request.headers, body))
        return web.json_response({"service": self.name, "path": request.raw_path})


class TokenIssuer:
    """Signs access tokens as auth does, and wrong ones as attackers do."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.key_id = "key-of-the-day"

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.key_id, "use": "sig", "alg": "EdDSA"}]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(uuid4()),
            "org": str(uuid4()),
            "sid": str(uuid4()),
            "kind": "user",
            "scope": "contacts:read",
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + timedelta(minutes=5),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, key: Any = None, algorithm: str = "EdDSA", header: Any = None, **changes: Any) -> str:
        headers = {"kid": self.key_id, "typ": "at+jwt", **(header or {})}
        return jwt.encode(
            self.claims(**changes), self.key if key is None else key, algorithm=algorithm, headers=headers
        )

    def public_bytes(self) -> bytes:
        return self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def bearer(self, **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**changes)}"}


@dataclass
class FakeAuth:
    """What the gateway asks of auth itself."""

    issuer: TokenIssuer
    service: FakeService
    keys: dict[str, UUID] = field(default_factory=dict)
    exchanges: int = 0
    jwks_fetches: int = 0
    is_away: bool = False
    exchanged_seconds: int = 300
    revoked: list[UUID] = field(default_factory=list)
    origins: dict[UUID, list[str]] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.is_away:
            return web.json_response({"code": "temporarily_unavailable"}, status=503)
        if request.path == "/.well-known/jwks.json":
            self.jwks_fetches += 1
            return web.json_response(self.issuer.jwks())
        if request.path == "/internal/api-keys/exchange":
            return await self._exchange(request)
        if request.path == "/internal/revocations":
            now = datetime.now(UTC).isoformat()
            return web.json_response({"revoked": [{"id": str(id_), "revoked_at": now} for id_ in self.revoked]})
        if request.path == "/internal/cors-origins":
            known = [{"organisation_id": str(id_), "origins": origins} for id_, origins in self.origins.items()]
            return web.json_response({"organisations": known})
        body = await request.read()
        self.service.seen.append(Seen(request.method, request.raw_path, request.headers, body))
        return web.json_response({"service": "auth"})

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        self.exchanges += 1
        key = (await request.json())["api_key"]
        if key not in self.keys:
            return web.json_response({"code": "invalid_api_key"}, status=401)
        id_ = self.keys[key]
        token = self.issuer.token(sub=str(id_), kind="api_key", sid=None)
        answer = {"access_token": token, "expires_in": self.exchanged_seconds, "api_key_id": str(id_)}
        return web.json_response(answer)


class Creator:
    """A service that creates something with each request."""

    def __init__(self, service: FakeService) -> None:
        self.created: list[bytes] = []
        self.status = 201
        self.answer: bytes | None = None
        service.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.created.append(body)
        return web.Response(
            status=self.status,
            body=self.answer if self.answer is not None else f'{{"number": {len(self.created)}}}'.encode(),
            headers={
                "Content-Type": "application/json",
                "Location": f"{request.path}/{len(self.created)}",
                "Set-Cookie": "a=b",
                "X-Request-ID": "of-the-service",
            },
        )


def with_key(who: dict[str, str], key: str = "key-1", **more: str) -> dict[str, str]:
    return {**who, "Idempotency-Key": key, **more}


async def eventually(check: Callable[[], Any]) -> Any:
    """Wait until `check` (a function, or one that returns an awaitable) gives something true."""
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            result = check()
            if isinstance(result, Awaitable):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, for requests that no client library sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange_bytes(port: int, request: bytes) -> bytes:
    """Send bytes, return the head of the answer."""
    async with connection(port) as (reader, writer), asyncio.timeout(GUARD_SECONDS):
        writer.write(request)
        await writer.drain()
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
