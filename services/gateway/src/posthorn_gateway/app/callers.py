"""Who calls: bearer tokens verified, API keys exchanged for such tokens, revoked ones refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Counter

from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_common.tokens import AccessTokenVerifier, Principal
from posthorn_common.tokens import InvalidToken as NotAccepted
from posthorn_gateway.app.ports import ExchangedKey, KeyExchange
from posthorn_gateway.app.recent import Recent
from posthorn_gateway.app.revocations import Revocations
from posthorn_gateway.domain.errors import InvalidToken, NotAuthenticated, ServiceUnavailable
from posthorn_gateway.domain.routes import Service

API_KEY_PREFIX = "ph_"
_MAX_API_KEY_CHARACTERS = 200
# Signing keys may be withdrawn: as long as verifiers cache the key set.
_MAX_VERIFIED_SECONDS = 300.0
_REFUSED_KEY_SECONDS = 10.0
# A token must outlive the request that it is sent with.
_TOKEN_MARGIN_SECONDS = 30.0
_CACHED_TOKENS = 20_000
_CACHED_KEYS = 10_000

_EXCHANGES = Counter("posthorn_gateway_api_key_exchanges_total", "API keys shown to auth, by outcome.", ["outcome"])

Attempt = Callable[[], Awaitable[None]]
"""Counts an attempt with a credential that is not known; raises RateLimited."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and the access token that says so to the services."""

    principal: Principal
    access_token: str


@dataclass(frozen=True, slots=True)
class _CachedKey:
    exchanged: ExchangedKey
    fresh_until: float


class Callers:
    """Identifies callers. Tokens and keys are cached by digest, so that memory holds no credentials of callers."""

    def __init__(
        self,
        *,
        verifier: AccessTokenVerifier,
        key_exchange: KeyExchange,
        revocations: Revocations,
        clock: Clock,
        api_key_cache_seconds: float,
    ) -> None:
        self._verifier = verifier
        self._key_exchange = key_exchange
        self._revocations = revocations
        self._clock = clock
        self._key_seconds = api_key_cache_seconds
        self._verified: Recent[bytes, Principal] = Recent(_CACHED_TOKENS)
        self._keys: Recent[bytes, _CachedKey] = Recent(_CACHED_KEYS)
        self._refused_keys: Recent[bytes, bool] = Recent(_CACHED_KEYS)
        self._exchanging: dict[bytes, asyncio.Task[ExchangedKey]] = {}

    async def identify(self, credential: str | None, attempt: Attempt) -> Caller:
        """Return the caller behind a bearer token or API key.

        `attempt` is called before auth is asked about a key. Raises NotAuthenticated, InvalidToken, ServiceUnavailable,
        and what `attempt` raises.
        """
        if not credential:
            raise NotAuthenticated
        if credential.startswith(API_KEY_PREFIX):
            token = await self._token_for(credential, attempt)
        else:
            token = credential
        principal = await self._verify(token)
        if self._is_revoked(principal):
            raise InvalidToken("The token is not accepted: revoked.")
        return Caller(principal, token)

    def _is_revoked(self, principal: Principal) -> bool:
        if principal.kind == "api_key":
            return self._revocations.includes(principal.subject_id)
        return self._revocations.includes(principal.session_id)

    async def _verify(self, token: str) -> Principal:
        now = self._now()
        digest = _digest(token)
        known = self._verified.get(digest, now)
        if known is not None:
            return known
        try:
            principal = await self._verifier.verify(token)
        except NotAccepted as error:
            raise InvalidToken(f"The token is not accepted: {error}.") from error
        except TransientError as error:
            raise ServiceUnavailable(Service.AUTH) from error
        self._verified.put(digest, principal, min(float(principal.expires_at), now + _MAX_VERIFIED_SECONDS))
        return principal

    async def _token_for(self, api_key: str, attempt: Attempt) -> str:
        digest = _digest(api_key)
        fresh = self._fresh(digest)
        if fresh is not None:
            return fresh.access_token
        if len(api_key) > _MAX_API_KEY_CHARACTERS:
            raise _void_key()
        cached = self._keys.get(digest, self._now())
        try:
            exchanged = await self._exchange(digest, api_key, attempt)
        except TransientError as error:
            # While auth is away nobody can revoke the key either: the last token serves until it expires.
            if cached is not None:
                return cached.exchanged.access_token
            raise ServiceUnavailable(Service.AUTH) from error
        return exchanged.access_token

    def _fresh(self, digest: bytes) -> ExchangedKey | None:
        """Return what auth gave for the key lately. Raises InvalidToken if that was a refusal."""
        now = self._now()
        cached = self._keys.get(digest, now)
        if cached is not None and now < cached.fresh_until:
            return cached.exchanged
        if self._refused_keys.get(digest, now):
            raise _void_key()
        return None

    async def _exchange(self, digest: bytes, api_key: str, attempt: Attempt) -> ExchangedKey:
        """Ask auth once for all requests that need the same key now."""
        running = self._exchanging.get(digest)
        if running is None:
            await attempt()
            # Meanwhile another request may have asked auth, and may have its answer.
            fresh = self._fresh(digest)
            if fresh is not None:
                return fresh
            running = self._exchanging.get(digest)
        if running is None:
            running = asyncio.create_task(self._ask_auth(digest, api_key))
            self._exchanging[digest] = running
            running.add_done_callback(lambda task: self._end_exchange(digest, task))
        return await asyncio.shield(running)

    def _end_exchange(self, digest: bytes, task: asyncio.Task[ExchangedKey]) -> None:
        self._exchanging.pop(digest, None)
        if not task.cancelled():
            task.exception()  # seen here, should all who waited for it have left

    async def _ask_auth(self, digest: bytes, api_key: str) -> ExchangedKey:
        outcome = "failed"
        try:
            exchanged = await self._key_exchange.exchange(api_key)
            outcome = "ok"
        except NotAccepted:
            outcome = "refused"
            self._keys.drop(digest)
            self._refused_keys.put(digest, True, self._now() + _REFUSED_KEY_SECONDS)
            raise _void_key() from None
        finally:
            _EXCHANGES.labels(outcome).inc()
        now = self._now()
        expires = now + exchanged.expires_in - _TOKEN_MARGIN_SECONDS
        self._keys.put(digest, _CachedKey(exchanged, now + self._key_seconds), expires)
        return exchanged

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _void_key() -> InvalidToken:
    return InvalidToken("The API key is not accepted.")


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
