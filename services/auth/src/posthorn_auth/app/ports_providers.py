"""What sign-in through identity providers needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn_auth.domain.identity_providers import Claims, IdentityProvider, PendingLogin


class Providers(Protocol):
    """Stored identity providers, logins at them, and who is who there. All times are the database's."""

    async def get(self, organisation_id: UUID) -> IdentityProvider | None: ...
    async def save(self, provider: IdentityProvider) -> None: ...
    async def remove(self, organisation_id: UUID) -> None:
        """Forget the provider; whoever is who there is kept, should it come back."""
        ...

    async def add_login(self, state_hash: bytes, login: PendingLogin) -> None: ...
    async def take_login(self, state_hash: bytes) -> PendingLogin | None:
        """Return a login that is not too old, to one of several callers."""
        ...

    async def delete_ended_logins(self) -> int: ...
    async def user_of(self, organisation_id: UUID, issuer: str, subject: str) -> UUID | None: ...
    async def link(self, organisation_id: UUID, issuer: str, subject: str, user_id: UUID) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an authorisation code is exchanged with."""

    code: str
    code_verifier: str
    nonce: str


class OidcClient(Protocol):
    """Speaks OpenID Connect with providers, found by discovery.

    Raises IssuerNotUsable, ProviderRefused, or TransientError when one is away.
    """

    async def check(self, issuer: str) -> None:
        """Raise IssuerNotUsable unless discovery finds what is needed."""
        ...

    async def authorization_url(
        self, provider: IdentityProvider, *, state: str, nonce: str, code_challenge: str
    ) -> str: ...

    async def claims(self, provider: IdentityProvider, client_secret: str | None, exchange: Exchange) -> Claims:
        """Exchange a code for an ID token; return what it says once it is verified."""
        ...
