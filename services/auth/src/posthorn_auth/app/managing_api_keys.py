"""API keys: create, list, exchange for access tokens, revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthorn_auth.app.ports import AccessTokens, NewUnitOfWork
from posthorn_auth.domain.credentials import ApiKey, hash_secret, new_api_key, shown_prefix
from posthorn_auth.domain.errors import ExpiryInThePast, InvalidApiKey, ScopeNotHeld
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import ApiKeyRevoked, ApiKeyRevokedData

EXCHANGED_TOKEN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to create."""

    name: str
    scopes: frozenset[str]
    expires_at: datetime | None


class ManagingApiKeys:
    """The use cases of API keys."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, tokens: AccessTokens, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._tokens = tokens
        self._clock = clock

    async def create(
        self, organisation_id: UUID, creator_id: UUID, creator_scopes: frozenset[str], wanted: NewApiKey
    ) -> tuple[ApiKey, str]:
        """Create a key; the second value is the key itself, which is shown this once.

        Raises ScopeNotHeld, ExpiryInThePast.
        """
        if wanted.expires_at is not None and wanted.expires_at <= self._clock.now():
            raise ExpiryInThePast
        if excess := wanted.scopes - creator_scopes:
            raise ScopeNotHeld(sorted(excess))
        secret = new_api_key()
        key = ApiKey(
            id=new_id(),
            organisation_id=organisation_id,
            name=wanted.name,
            prefix=shown_prefix(secret),
            scopes=tuple(sorted(wanted.scopes)),
            created_by=creator_id,
            created_at=self._clock.now(),
            expires_at=wanted.expires_at,
            last_used_at=None,
        )
        async with self._new_unit_of_work() as uow:
            await uow.api_keys.add(key, hash_secret(secret))
        return key, secret

    async def list_keys(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]:
        """Return keys that are not revoked, in order of their ids."""
        async with self._new_unit_of_work() as uow:
            return await uow.api_keys.page(organisation_id, after, limit)

    async def exchange(self, api_key: str) -> tuple[ApiKey, str, int]:
        """Return the key, an access token that may do what the key may, and its seconds. Raises InvalidApiKey."""
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            key = await uow.api_keys.by_hash(hash_secret(api_key))
            seconds = 0 if key is None else min(EXCHANGED_TOKEN_SECONDS, key.seconds_left(now))
            if key is None or seconds < 1:
                raise InvalidApiKey
            await uow.api_keys.touch(key.id, now)
        return key, await self._tokens.issue_for_api_key(key, seconds), seconds

    async def revoke(self, organisation_id: UUID, key_id: UUID) -> None:
        """Make a key void. Raises ApiKeyNotFound."""
        async with self._new_unit_of_work() as uow:
            if await uow.api_keys.revoke(organisation_id, key_id, self._clock.now()):
                data = ApiKeyRevokedData(api_key_id=key_id)
                await uow.publish(event(ApiKeyRevoked, key_id, organisation_id, data, self._clock))
