"""Access tokens (EdDSA JWTs for callers) and service tokens (short HMAC JWTs between services).

Both follow RFC 8725: the algorithm is pinned, `typ`, `iss`, `aud` and `exp` are required and checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

AUDIENCE = "posthorn"
ACCESS_TOKEN_TYPE = "at+jwt"
SERVICE_TOKEN_TYPE = "svc+jwt"
_LEEWAY_SECONDS = 15
_MAX_TOKEN_CHARACTERS = 8192
_SERVICE_TOKEN_SECONDS = 60


class InvalidToken(Exception):
    """The token is malformed, expired, not ours, or not of the kind that is needed."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a user or an API key, within one organisation."""

    organisation_id: UUID
    subject_id: UUID
    kind: str
    scopes: frozenset[str]
    session_id: UUID | None = None
    role: str | None = None
    token_id: str = ""
    expires_at: int = 0
    """When the token expires, in seconds since 1970; 0 if unknown."""


class JwksSource(Protocol):
    """Where the public keys come from."""

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """Return the key, or raise InvalidToken if there is no such key."""
        ...


class StaticJwks:
    """Keys that are known beforehand."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """Return the key, or raise InvalidToken."""
        try:
            return self._keys[key_id]
        except KeyError as error:
            raise InvalidToken("unknown key") from error


class HttpJwks:
    """Keys that auth publishes, cached for `max_age_seconds`; the last good set is kept while auth is away.

    An unknown key id causes a fetch at most once in `min_refetch_seconds`, so that made-up ids cannot flood auth. While
    there is no set at all, callers within `first_retry_seconds` of a failure fail with it and do not queue up.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        max_age_seconds: float = 300,
        min_refetch_seconds: float = 30,
        first_retry_seconds: float = 1,
    ) -> None:
        self._url = url
        self._client = client
        self._max_age = max_age_seconds
        self._min_refetch = min_refetch_seconds
        self._first_retry = first_retry_seconds
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Fetch the keys unless some are known. Raises TransientError; for readiness checks."""
        if not self._keys:
            async with self._lock:
                await self._refresh(needed="")
        if not self._keys:
            raise TransientError("no signing keys are published")

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """Return the key; raise InvalidToken if unknown, TransientError if no key set could ever be fetched."""
        now = time.monotonic()
        known = self._keys.get(key_id)
        if known is not None and now - self._fetched_at < self._max_age:
            return known
        async with self._lock:
            await self._refresh(needed=key_id)
        try:
            return self._keys[key_id]
        except KeyError as error:
            if not self._keys:
                raise TransientError("the signing keys cannot be fetched") from error
            raise InvalidToken("unknown key") from error

    async def _refresh(self, *, needed: str) -> None:
        now = time.monotonic()
        fresh = now - self._fetched_at < self._max_age
        pause = self._min_refetch if self._keys else self._first_retry
        if (fresh and needed in self._keys) or now - self._tried_at < pause:
            return
        try:
            answer = await self._client.get(self._url)
            answer.raise_for_status()
            self._keys = _ed25519_keys(answer.json())
            self._fetched_at = now
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            log.warning("signing_keys_not_fetched", error=type(error).__name__, known=len(self._keys))
        finally:
            # Its end, not its beginning: whoever waited for an attempt that failed must not make the next one.
            self._tried_at = time.monotonic()


def _ed25519_keys(document: Any) -> dict[str, Ed25519PublicKey]:
    keys: dict[str, Ed25519PublicKey] = {}
    for item in document["keys"]:
        if item.get("kty") != "OKP" or item.get("crv") != "Ed25519":
            continue  # not for our tokens
        key = jwt.PyJWK.from_dict(item, algorithm="EdDSA").key
        if isinstance(key, Ed25519PublicKey):
            keys[item["kid"]] = key
    if not keys:
        raise ValueError("the set holds no key for EdDSA")
    return keys


class AccessTokenIssuer:
    """Signs access tokens with one Ed25519 key."""

    def __init__(self, private_key: Ed25519PrivateKey, *, key_id: str, issuer: str, clock: Clock) -> None:
        self._private_key = private_key
        self._key_id = key_id
        self._issuer = issuer
        self._clock = clock

    def issue(self, principal: Principal, *, lifetime: timedelta) -> str:
        """Return a signed token for `principal` that expires after `lifetime`."""
        now = self._clock.now()
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(principal.subject_id),
            "org": str(principal.organisation_id),
            "kind": principal.kind,
            "scope": " ".join(sorted(principal.scopes)),
            "jti": str(new_id()),
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
        }
        if principal.session_id is not None:
            claims["sid"] = str(principal.session_id)
        if principal.role is not None:
            claims["role"] = principal.role
        return jwt.encode(
            claims,
            self._private_key,
            algorithm="EdDSA",
            headers={"kid": self._key_id, "typ": ACCESS_TOKEN_TYPE},
        )


class AccessTokenVerifier:
    """Verifies access tokens against the published keys."""

    def __init__(self, keys: JwksSource, *, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer

    async def verify(self, token: str) -> Principal:
        """Return the caller. Raises InvalidToken, or TransientError when the keys cannot be fetched."""
        header = _header(token, typ=ACCESS_TOKEN_TYPE, algorithm="EdDSA")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise InvalidToken("no key id")
        key = await self._keys.key(key_id)
        claims = _claims(
            token,
            key,
            algorithm="EdDSA",
            issuer=self._issuer,
            audience=AUDIENCE,
            required=["sub", "org", "kind", "scope", "jti", "nbf"],
        )
        try:
            return Principal(
                organisation_id=UUID(claims["org"]),
                subject_id=UUID(claims["sub"]),
                kind=str(claims["kind"]),
                scopes=frozenset(str(claims["scope"]).split()),
                session_id=UUID(claims["sid"]) if "sid" in claims else None,
                role=claims.get("role"),
                token_id=str(claims["jti"]),
                expires_at=int(claims["exp"]),
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise InvalidToken("malformed claims") from error


class ServiceTokens:
    """Tokens that services show one another on `/internal` routes, signed with the shared internal secret."""

    def __init__(self, secret: bytes, *, service: str, clock: Clock) -> None:
        self._secret = secret
        self._service = service
        self._clock = clock

    def issue(self, audience: str) -> str:
        """Return a token with which this service may call the service `audience` for a minute."""
        now = self._clock.now()
        return jwt.encode(
            {
                "iss": self._service,
                "aud": audience,
                "iat": now,
                "exp": now + timedelta(seconds=_SERVICE_TOKEN_SECONDS),
            },
            self._secret,
            algorithm="HS256",
            headers={"typ": SERVICE_TOKEN_TYPE},
        )

    def verify(self, token: str) -> str:
        """Return the name of the calling service, or raise InvalidToken."""
        _header(token, typ=SERVICE_TOKEN_TYPE, algorithm="HS256")
        claims = _claims(token, self._secret, algorithm="HS256", issuer=None, audience=self._service, required=[])
        return str(claims["iss"])


def _header(token: str, *, typ: str, algorithm: str) -> dict[str, Any]:
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise InvalidToken("too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise InvalidToken("malformed") from error
    if str(header.get("typ", "")).lower() != typ or header.get("alg") != algorithm or "crit" in header:
        raise InvalidToken("wrong kind of token")
    return header


def _claims(
    token: str, key: Any, *, algorithm: str, issuer: str | None, audience: str, required: list[str]
) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", *required]},
        )
    except jwt.ExpiredSignatureError as error:
        raise InvalidToken("expired") from error
    except jwt.PyJWTError as error:
        raise InvalidToken("not valid") from error
