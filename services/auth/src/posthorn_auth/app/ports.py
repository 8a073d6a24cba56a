"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from posthorn_auth.app.ports_accounts import Invitations, Mails
from posthorn_auth.app.ports_factors import Factors
from posthorn_auth.app.ports_providers import Providers
from posthorn_auth.domain.credentials import ApiKey, Session, UsedToken
from posthorn_auth.domain.signing_keys import SigningKey
from posthorn_auth.domain.users import Organisation, User
from posthorn_contracts.envelope import Event


class Users(Protocol):
    """Stored users and organisations."""

    async def add_organisation(self, organisation: Organisation) -> None: ...
    async def organisation(self, organisation_id: UUID, *, stays: bool = False) -> Organisation:
        """Return the organisation; with `stays` nobody changes it until the transaction ends."""
        ...

    async def lock_organisation(self, organisation_id: UUID) -> Organisation:
        """Return the organisation, which nobody else changes or relies on until the transaction ends."""
        ...

    async def save_organisation(self, organisation: Organisation) -> None: ...
    async def add(self, user: User) -> None:
        """Raises EmailTaken."""
        ...

    async def get(self, organisation_id: UUID, user_id: UUID) -> User:
        """Raises UserNotFound."""
        ...

    async def lock(self, organisation_id: UUID, user_id: UUID) -> User:
        """Return a user as they are now, unchanged by others until the transaction ends. Raises UserNotFound."""
        ...

    async def without_two_factor(self, organisation_id: UUID) -> list[User]:
        """Return the users who sign in with a password alone."""
        ...

    async def by_email(self, email: str) -> User | None: ...
    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[User]: ...
    async def save(self, user: User) -> None:
        """Raises EmailTaken."""
        ...

    async def now(self) -> datetime:
        """Return the database's time."""
        ...

    async def lock_active_owners(self, organisation_id: UUID) -> list[UUID]:
        """Return the active owners, locked until the transaction ends: two owners cannot leave at the same time."""
        ...


class Sessions(Protocol):
    """Stored sessions and their refresh tokens."""

    async def add(self, session: Session, token_hash: bytes) -> None: ...
    async def get(self, organisation_id: UUID, session_id: UUID) -> Session:
        """Raises SessionNotFound."""
        ...

    async def of_user(self, user_id: UUID, after: UUID | None, limit: int) -> list[Session]: ...
    async def use_token(self, token_hash: bytes, client: bytes, now: datetime) -> Session | None:
        """Mark an unused refresh token as used and return its session; None if there is no such unused token."""
        ...

    async def used_token(self, token_hash: bytes, successor_hash: bytes) -> UsedToken | None: ...
    async def add_token(self, session_id: UUID, token_hash: bytes, now: datetime) -> None: ...
    async def revoke(self, session_id: UUID, now: datetime) -> bool:
        """Return whether the session was open."""
        ...

    async def revoke_all(self, user_id: UUID, now: datetime, *, keep: UUID | None = None) -> list[UUID]:
        """Revoke the open sessions of a user, but `keep`; return their ids."""
        ...

    async def revoked_since(self, since: datetime) -> dict[UUID, datetime]: ...
    async def delete_ended(self, before: datetime) -> int: ...


class ApiKeys(Protocol):
    """Stored API keys."""

    async def add(self, key: ApiKey, key_hash: bytes) -> None: ...
    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]: ...
    async def by_hash(self, key_hash: bytes) -> ApiKey | None: ...
    async def lock(self, organisation_id: UUID, key_id: UUID) -> ApiKey:
        """Return a key that is not revoked, unchanged by others until the transaction ends. Raises ApiKeyNotFound."""
        ...

    async def replace(self, key_id: UUID, successor_id: UUID, expires_at: datetime) -> None: ...
    async def revoke_excess(
        self, organisation_id: UUID, creator_id: UUID, allowed: frozenset[str], now: datetime
    ) -> list[UUID]:
        """Make all keys of a creator void that may do what is not in `allowed`; return their ids."""
        ...

    async def touch(self, key_id: UUID, now: datetime) -> None: ...
    async def revoked_since(self, since: datetime) -> dict[UUID, datetime]: ...
    async def revoke(self, organisation_id: UUID, key_id: UUID, now: datetime) -> bool:
        """Return whether it was valid before. Raises ApiKeyNotFound."""
        ...


class SigningKeys(Protocol):
    """Stored signing keys."""

    async def all(self) -> list[SigningKey]: ...
    async def add(self, key: SigningKey) -> None: ...
    async def delete(self, key_ids: Collection[str]) -> None: ...
    async def lock(self) -> None:
        """Let nobody else add keys until the transaction ends."""
        ...


class Origins(Protocol):
    """Stored origins that organisations allow."""

    async def of(self, organisation_id: UUID) -> list[str]: ...
    async def replace(self, organisation_id: UUID, origins: list[str]) -> None: ...
    async def of_all(self) -> dict[UUID, list[str]]:
        """Return those of every organisation that allows any."""
        ...


class UnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def users(self) -> Users: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def signing_keys(self) -> SigningKeys: ...
    @property
    def mails(self) -> Mails: ...
    @property
    def invitations(self) -> Invitations: ...
    @property
    def factors(self) -> Factors: ...
    @property
    def providers(self) -> Providers: ...
    @property
    def origins(self) -> Origins: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def publish(self, event: Event) -> None:
        """Add an event to the outbox, in this transaction."""
        ...


NewUnitOfWork = Callable[[], UnitOfWork]
"""Starts a unit of work."""


class PasswordHasher(Protocol):
    """Hashes passwords slowly, off the event loop."""

    async def hash(self, password: str) -> str: ...
    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password fits. With None as much work is done, for unknown users."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with weaker parameters than those of today."""
        ...


class LoginThrottle(Protocol):
    """Counts attempts at passwords by account and by client address, until one succeeds."""

    async def attempt(self, email: str, address: str) -> None:
        """Count an attempt, before the password is looked at. Raises TooManyAttempts."""
        ...

    async def succeed(self, email: str, address: str) -> None:
        """The attempt was none: the account starts anew, and the address is known to belong to it."""
        ...

    async def attempt_code(self, user_id: UUID) -> None:
        """Count an attempt at a second factor, which only who knows the password can make. Raises TooManyAttempts."""
        ...

    async def succeed_code(self, user_id: UUID) -> None:
        """The code was good: the count starts anew."""
        ...


class AccessTokens(Protocol):
    """Signs access tokens with the key of the day."""

    async def issue_for_session(self, user: User, session: Session) -> str: ...
    async def issue_for_api_key(self, key: ApiKey, lifetime_seconds: int) -> str: ...
