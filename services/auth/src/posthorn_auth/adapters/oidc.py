"""OpenID Connect: discovery, the authorisation code flow, and ID tokens."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import httpx
import jwt

from posthorn_auth.app.ports_providers import Exchange
from posthorn_auth.domain.errors import IssuerNotUsable, ProviderRefused
from posthorn_auth.domain.identity_providers import Claims, IdentityProvider
from posthorn_common.errors import TransientError
from posthorn_common.internal_addresses import is_internal_address

_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures with public keys only: a client secret never becomes a key (RFC 8725 §3.1)."""

_METADATA_SECONDS = 600.0
_LEEWAY_SECONDS = 60
_LARGEST_ANSWER = 256 * 1024
_SECONDS = 10.0
"""How long an answer may take as a whole, however steadily it drips."""
_KNOWN_PROVIDERS = 1000
_LONGEST_ADDRESS = 2000


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What is used of a discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    takes_basic: bool


class HttpOidcClient:
    """See the port OidcClient.

    Redirects are not followed, answers are limited in size and time, internal addresses are refused: a provider is
    whatever an organisation's owner says.
    """

    def __init__(self, client: httpx.AsyncClient, *, allow_private: bool) -> None:
        self._client = client
        self._allow_private = allow_private
        self._metadata: dict[str, tuple[float, _Metadata]] = {}

    async def check(self, issuer: str) -> None:
        """Raise IssuerNotUsable unless discovery finds what is needed."""
        try:
            await self._discover(issuer)
        except (TransientError, ProviderRefused) as error:
            raise IssuerNotUsable(str(error)) from error

    async def authorization_url(
        self, provider: IdentityProvider, *, state: str, nonce: str, code_challenge: str
    ) -> str:
        """Return where to send the user (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3)."""
        endpoint = (await self._discover(provider.issuer)).authorization_endpoint
        query = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": provider.redirect_uri,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",
        }
        return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(query)

    async def claims(self, provider: IdentityProvider, client_secret: str | None, exchange: Exchange) -> Claims:
        """Exchange a code for an ID token, verify it, and return what it says."""
        metadata = await self._discover(provider.issuer)
        token = await self._id_token(metadata, provider, client_secret, exchange)
        claims = await self._verified(metadata, provider, token)
        if claims.get("nonce") != exchange.nonce:
            raise ProviderRefused("the ID token is of another login")
        is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if is_for_several else provider.client_id) != provider.client_id:
            raise ProviderRefused("the ID token was issued to somebody else")
        email, name = claims.get("email"), claims.get("name")
        return Claims(
            issuer=provider.issuer,
            subject=str(claims["sub"]),
            email=email if isinstance(email, str) else None,
            email_verified=claims.get("email_verified") is True,
            name=name if isinstance(name, str) else None,
        )

    async def _discover(self, issuer: str) -> _Metadata:
        """Return the provider's metadata (OpenID Connect Discovery 1.0 §4), kept for ten minutes."""
        known = self._metadata.pop(issuer, None)
        if known is None or time.monotonic() - known[0] >= _METADATA_SECONDS:
            known = time.monotonic(), await self._discovered(issuer)
        self._metadata[issuer] = known
        while len(self._metadata) > _KNOWN_PROVIDERS:  # what was used longest ago stands first
            del self._metadata[next(iter(self._metadata))]
        return known[1]

    async def _discovered(self, issuer: str) -> _Metadata:
        found = await self._json("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderRefused("discovery names another issuer")
        addresses = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        authorization, token, keys = (item if isinstance(item, str) else "" for item in addresses)
        if not all(0 < len(address) <= _LONGEST_ADDRESS for address in (authorization, token, keys)):
            raise ProviderRefused("discovery lacks an endpoint")
        self._check_scheme(authorization)
        methods = _items(found.get("token_endpoint_auth_methods_supported")) or ["client_secret_basic"]
        return _Metadata(authorization, token, keys, takes_basic="client_secret_basic" in methods)

    async def _id_token(
        self, metadata: _Metadata, provider: IdentityProvider, client_secret: str | None, exchange: Exchange
    ) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": exchange.code,
            "redirect_uri": provider.redirect_uri,
            "code_verifier": exchange.code_verifier,
        }
        basic: httpx.BasicAuth | None = None
        if client_secret is None:
            form["client_id"] = provider.client_id
        elif metadata.takes_basic:
            # RFC 6749 §2.3.1: both parts are form-encoded first.
            user, password = (urlencode({"": text})[1:] for text in (provider.client_id, client_secret))
            basic = httpx.BasicAuth(user, password)
        else:
            form |= {"client_id": provider.client_id, "client_secret": client_secret}
        answer = await self._json("POST", metadata.token_endpoint, data=form, auth=basic)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderRefused("there is no ID token in the answer")
        return token

    async def _verified(self, metadata: _Metadata, provider: IdentityProvider, token: str) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core §3.1.3.7)."""
        keys = await self._json("GET", metadata.jwks_uri)
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
                raise ProviderRefused("the ID token is not signed as it should be")
            return jwt.decode(
                token,
                _key(keys, header.get("kid"), algorithm),
                algorithms=[algorithm],
                audience=provider.client_id,
                issuer=provider.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise ProviderRefused(f"the ID token is not valid ({type(error).__name__})") from error

    async def _json(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._check_url(url)
                status, body = await self._answer(method, url, **arguments)
        except TimeoutError as error:
            raise TransientError("the identity provider is too slow") from error
        except httpx.InvalidURL as error:
            raise IssuerNotUsable("an address is not valid") from error
        except httpx.HTTPError as error:
            raise TransientError(f"the identity provider cannot be reached: {type(error).__name__}") from error
        if status >= 500 or status == 429:
            raise TransientError(f"the identity provider answered {status}")
        if status != 200:
            raise ProviderRefused(f"the identity provider answered {status}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProviderRefused("the answer is not JSON") from error
        if not isinstance(found, dict):
            raise ProviderRefused("the answer is not an object")
        return found

    async def _answer(self, method: str, url: str, **arguments: Any) -> tuple[int, bytes]:
        # Not compressed: little would become much before it could be counted.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with self._client.stream(method, url, headers=headers, **arguments) as response:
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise ProviderRefused("the answer is too large")
        return response.status_code, bytes(body)

    def _check_scheme(self, url: str) -> None:
        if _parts(url).scheme not in ({"https", "http"} if self._allow_private else {"https"}):
            raise IssuerNotUsable("its addresses must begin with https://")

    async def _check_url(self, url: str) -> None:
        """Raise IssuerNotUsable for what is not outside: nobody looks into our network through this."""
        self._check_scheme(url)
        host = _parts(url).hostname
        if not host:
            raise IssuerNotUsable("an address names no host")
        if self._allow_private:
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise TransientError("the name of the identity provider is not known") from error
        if any(is_internal_address(str(address[0])) for *_, address in found):
            raise IssuerNotUsable("it is in a private network")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # is looked at only now
    except ValueError as error:
        raise IssuerNotUsable("an address is not valid") from error
    return parts


def _items(value: Any) -> list[Any]:
    """Return a list that a provider has sent, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def _key(keys: Mapping[str, Any], key_id: str | None, algorithm: str) -> jwt.PyJWK:
    """Return the key of a set that verifies; a set with several needs the id."""
    found = [
        item
        for item in _items(keys.get("keys"))
        if isinstance(item, dict)
        and item.get("kty") != "oct"
        and item.get("use", "sig") == "sig"
        and (key_id is None or item.get("kid") == key_id)
    ]
    if len(found) != 1:
        raise ProviderRefused("the key of the ID token is not known")
    return jwt.PyJWK.from_dict(found[0], algorithm=algorithm)
