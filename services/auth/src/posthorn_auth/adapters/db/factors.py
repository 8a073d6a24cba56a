"""Second factors in PostgreSQL; see the port Factors."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.adapters.db.tables import login_challenges, recovery_codes, second_factors
from posthorn_auth.domain.second_factors import CHALLENGE_ATTEMPTS, CHALLENGE_LIFETIME, SecondFactor

_NOW = sa.func.clock_timestamp()


class SqlFactors:
    """Stored second factors, recovery codes, and logins that wait for one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, user_id: UUID) -> SecondFactor | None:
        """Return the user's factor."""
        query = sa.select(second_factors).where(second_factors.c.user_id == user_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        return SecondFactor(row.user_id, row.organisation_id, row.sealed_secret, confirmed=row.confirmed_at is not None)

    async def begin(self, factor: SecondFactor) -> None:
        """Store an unconfirmed factor; one that is confirmed stays."""
        values = {
            "user_id": factor.user_id,
            "organisation_id": factor.organisation_id,
            "sealed_secret": factor.sealed_secret,
            "created_at": _NOW,
        }
        await self._connection.execute(
            insert(second_factors)
            .values(values)
            .on_conflict_do_update(
                index_elements=["user_id"],
                set_={"sealed_secret": factor.sealed_secret, "created_at": _NOW, "last_step": None},
                where=second_factors.c.confirmed_at.is_(None),
            )
        )

    async def confirm(self, user_id: UUID) -> None:
        """Let the factor count."""
        change = sa.update(second_factors).where(second_factors.c.user_id == user_id)
        await self._connection.execute(change.values(confirmed_at=_NOW))

    async def use_step(self, user_id: UUID, step: int) -> bool:
        """Note the period of a code, which must be later than all before."""
        newer = sa.or_(second_factors.c.last_step.is_(None), second_factors.c.last_step < step)
        change = sa.update(second_factors).where(second_factors.c.user_id == user_id, newer).values(last_step=step)
        return (await self._connection.execute(change)).rowcount == 1

    async def replace_codes(self, user_id: UUID, hashes: Sequence[bytes]) -> None:
        """Store new recovery codes instead of all others."""
        await self._connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
        rows = [{"user_id": user_id, "code_hash": code_hash} for code_hash in hashes]
        await self._connection.execute(sa.insert(recovery_codes), rows)

    async def use_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """Delete a recovery code; return whether it was there."""
        gone = sa.delete(recovery_codes).where(
            recovery_codes.c.user_id == user_id, recovery_codes.c.code_hash == code_hash
        )
        return (await self._connection.execute(gone)).rowcount == 1

    async def codes_left(self, user_id: UUID) -> int:
        """Return how many recovery codes are left."""
        query = sa.select(sa.func.count()).where(recovery_codes.c.user_id == user_id)
        return int(await self._connection.scalar(query) or 0)

    async def remove(self, user_id: UUID) -> None:
        """Forget the factor and its recovery codes."""
        for table in (recovery_codes, second_factors):
            await self._connection.execute(sa.delete(table).where(table.c.user_id == user_id))

    async def add_challenge(self, token_hash: bytes, organisation_id: UUID, user_id: UUID) -> None:
        """Store a login that waits for its second factor."""
        values = {
            "token_hash": token_hash,
            "organisation_id": organisation_id,
            "user_id": user_id,
            "expires_at": _NOW + CHALLENGE_LIFETIME,
        }
        await self._connection.execute(sa.insert(login_challenges).values(values))

    async def attempt(self, token_hash: bytes) -> tuple[UUID, UUID] | None:
        """Count an attempt at a challenge that is open."""
        counted = (
            sa.update(login_challenges)
            .where(
                login_challenges.c.token_hash == token_hash,
                login_challenges.c.expires_at > _NOW,
                login_challenges.c.attempts < CHALLENGE_ATTEMPTS,
            )
            .values(attempts=login_challenges.c.attempts + 1)
            .returning(login_challenges.c.organisation_id, login_challenges.c.user_id)
        )
        row = (await self._connection.execute(counted)).one_or_none()
        return None if row is None else (row.organisation_id, row.user_id)

    async def end_challenge(self, token_hash: bytes) -> bool:
        """Delete a challenge; return whether it was there."""
        gone = sa.delete(login_challenges).where(login_challenges.c.token_hash == token_hash)
        return (await self._connection.execute(gone)).rowcount == 1

    async def void_challenges(self, user_id: UUID) -> None:
        """Delete all challenges of a user."""
        await self._connection.execute(sa.delete(login_challenges).where(login_challenges.c.user_id == user_id))

    async def delete_ended(self) -> int:
        """Delete challenges whose time is over; return how many."""
        return (
            await self._connection.execute(sa.delete(login_challenges).where(login_challenges.c.expires_at < _NOW))
        ).rowcount
