"""Users, sessions, API keys and signing keys in PostgreSQL; see the ports of the same names."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.adapters.db.tables import (
    api_keys,
    organisations,
    refresh_tokens,
    sessions,
    signing_keys,
    users,
)
from posthorn_auth.domain.credentials import ApiKey, Session, UsedToken
from posthorn_auth.domain.errors import ApiKeyNotFound, EmailTaken, SessionNotFound, UserNotFound
from posthorn_auth.domain.signing_keys import SigningKey
from posthorn_auth.domain.users import OWNER, Organisation, User, UserStatus

_KEY_USE_RECORDED_EVERY = timedelta(minutes=1)


class SqlUsers:
    """Stored users and organisations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_organisation(self, organisation: Organisation) -> None:
        """Store a new organisation."""
        values = {"id": organisation.id, "name": organisation.name, "created_at": organisation.created_at}
        await self._connection.execute(sa.insert(organisations).values(values))

    async def organisation(self, organisation_id: UUID, *, stays: bool = False) -> Organisation:
        """Return the organisation; with `stays` nobody changes it until the transaction ends."""
        query = sa.select(organisations).where(organisations.c.id == organisation_id)
        if stays:
            query = query.with_for_update(read=True)
        return _organisation((await self._connection.execute(query)).one())

    async def lock_organisation(self, organisation_id: UUID) -> Organisation:
        """Return the organisation, which nobody else changes or relies on until the transaction ends.

        Rows that refer to it may be added meanwhile.
        """
        query = sa.select(organisations).where(organisations.c.id == organisation_id).with_for_update(key_share=True)
        return _organisation((await self._connection.execute(query)).one())

    async def save_organisation(self, organisation: Organisation) -> None:
        """Store a changed organisation."""
        change = sa.update(organisations).where(organisations.c.id == organisation.id)
        values = {"name": organisation.name, "two_factor_required": organisation.two_factor_required}
        await self._connection.execute(change.values(values))

    async def without_two_factor(self, organisation_id: UUID) -> list[User]:
        """Return the users who sign in with a password alone."""
        query = sa.select(users).where(users.c.organisation_id == organisation_id, users.c.two_factor.is_(False))
        return [_user(row) for row in await self._connection.execute(query)]

    async def add(self, user: User) -> None:
        """Store a new user. Raises EmailTaken."""
        await self._write_user(sa.insert(users).values(_user_values(user)))

    async def _write_user(self, statement: sa.Insert | sa.Update) -> None:
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            if "uq_users_email" in str(error.orig):
                raise EmailTaken from error
            raise

    async def get(self, organisation_id: UUID, user_id: UUID) -> User:
        """Return a user of the organisation. Raises UserNotFound."""
        return await self._get(_user_query(organisation_id, user_id))

    async def lock(self, organisation_id: UUID, user_id: UUID) -> User:
        """Return a user as they are now, unchanged by others until the transaction ends. Raises UserNotFound."""
        return await self._get(_user_query(organisation_id, user_id).with_for_update())

    async def _get(self, query: sa.Select[Any]) -> User:
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise UserNotFound
        return _user(row)

    async def by_email(self, email: str) -> User | None:
        """Return the user with this address."""
        row = (await self._connection.execute(sa.select(users).where(users.c.email == email))).one_or_none()
        return None if row is None else _user(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[User]:
        """Return users by id, after `after`."""
        query = sa.select(users).where(users.c.organisation_id == organisation_id).order_by(users.c.id).limit(limit)
        if after is not None:
            query = query.where(users.c.id > after)
        return [_user(row) for row in await self._connection.execute(query)]

    async def save(self, user: User) -> None:
        """Store a changed user. Raises EmailTaken."""
        change = sa.update(users).where(users.c.organisation_id == user.organisation_id, users.c.id == user.id)
        await self._write_user(change.values(_user_values(user)))

    async def now(self) -> datetime:
        """Return the database's time."""
        now: datetime = (await self._connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        return now

    async def lock_active_owners(self, organisation_id: UUID) -> list[UUID]:
        """Return the active owners' ids, locked until the transaction ends."""
        query = (
            sa.select(users.c.id)
            .where(
                users.c.organisation_id == organisation_id,
                users.c.role == OWNER,
                users.c.status == UserStatus.ACTIVE,
            )
            .order_by(users.c.id)
            .with_for_update()
        )
        return list(await self._connection.scalars(query))


class SqlSessions:
    """Stored sessions and their refresh tokens."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, session: Session, token_hash: bytes) -> None:
        """Store a new session with its first refresh token."""
        await self._connection.execute(sa.insert(sessions).values({c: getattr(session, c) for c in _SESSION_COLUMNS}))
        await self.add_token(session.id, token_hash, session.created_at)

    async def get(self, organisation_id: UUID, session_id: UUID) -> Session:
        """Return a session of the organisation. Raises SessionNotFound."""
        query = sa.select(sessions).where(sessions.c.organisation_id == organisation_id, sessions.c.id == session_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise SessionNotFound
        return _session(row)

    async def of_user(self, user_id: UUID, after: UUID | None, limit: int) -> list[Session]:
        """Return the user's sessions that can still be used, by id, after `after`."""
        query = (
            sa.select(sessions)
            .where(
                sessions.c.user_id == user_id,
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > sa.func.now(),
            )
            .order_by(sessions.c.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(sessions.c.id > after)
        return [_session(row) for row in await self._connection.execute(query)]

    async def use_token(self, token_hash: bytes, client: bytes, now: datetime) -> Session | None:
        """Mark an unused token as used, so that exactly one of several callers gets the session."""
        used = (
            sa.update(refresh_tokens)
            .where(refresh_tokens.c.token_hash == token_hash, refresh_tokens.c.used_at.is_(None))
            .values(used_at=now, used_by=client)
            .returning(refresh_tokens.c.session_id)
        )
        session_id = await self._connection.scalar(used)
        if session_id is None:
            return None
        touched = sa.update(sessions).where(sessions.c.id == session_id).values(last_used_at=now).returning(sessions)
        return _session((await self._connection.execute(touched)).one())

    async def used_token(self, token_hash: bytes, successor_hash: bytes) -> UsedToken | None:
        """Return what is known of a used token."""
        following = refresh_tokens.alias("following")
        query = (
            sa.select(
                sessions, refresh_tokens.c.used_at, refresh_tokens.c.used_by, following.c.used_at.label("followed")
            )
            .join(refresh_tokens, refresh_tokens.c.session_id == sessions.c.id)
            .outerjoin(following, following.c.token_hash == successor_hash)
            .where(refresh_tokens.c.token_hash == token_hash, refresh_tokens.c.used_at.is_not(None))
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        return UsedToken(_session(row), row.used_at, row.used_by or b"", is_followed=row.followed is not None)

    async def add_token(self, session_id: UUID, token_hash: bytes, now: datetime) -> None:
        """Store the session's next refresh token."""
        values = {"token_hash": token_hash, "session_id": session_id, "created_at": now}
        await self._connection.execute(sa.insert(refresh_tokens).values(values))

    async def revoke(self, session_id: UUID, now: datetime) -> bool:
        """End a session; return whether it was open."""
        change = (
            sa.update(sessions)
            .where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        return (await self._connection.execute(change)).rowcount == 1

    async def revoke_all(self, user_id: UUID, now: datetime, *, keep: UUID | None = None) -> list[UUID]:
        """End the user's open sessions but `keep`; return their ids."""
        change = (
            sa.update(sessions)
            .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
            .values(revoked_at=now)
            .returning(sessions.c.id)
        )
        if keep is not None:
            change = change.where(sessions.c.id != keep)
        return list(await self._connection.scalars(change))

    async def revoked_since(self, since: datetime) -> dict[UUID, datetime]:
        """Return ids of sessions revoked since then, with the times."""
        query = sa.select(sessions.c.id, sessions.c.revoked_at).where(sessions.c.revoked_at > since)
        return {id_: at for id_, at in await self._connection.execute(query)}  # noqa: C416  a row is no pair to mypy

    async def delete_ended(self, before: datetime) -> int:
        """Delete sessions that ended before; return how many."""
        ended = sa.or_(sessions.c.expires_at < before, sessions.c.revoked_at < before)
        return (await self._connection.execute(sa.delete(sessions).where(ended))).rowcount


class SqlApiKeys:
    """Stored API keys."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, key: ApiKey, key_hash: bytes) -> None:
        """Store a new key."""
        values: dict[str, Any] = {column: getattr(key, column) for column in _KEY_COLUMNS}
        await self._connection.execute(sa.insert(api_keys).values({**values, "key_hash": key_hash}))

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]:
        """Return keys that are not revoked, by id, after `after`."""
        query = (
            sa.select(api_keys)
            .where(api_keys.c.organisation_id == organisation_id, api_keys.c.revoked_at.is_(None))
            .order_by(api_keys.c.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(api_keys.c.id > after)
        return [_api_key(row) for row in await self._connection.execute(query)]

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """Return the key with this hash."""
        row = (await self._connection.execute(sa.select(api_keys).where(api_keys.c.key_hash == key_hash))).one_or_none()
        return None if row is None else _api_key(row)

    async def lock(self, organisation_id: UUID, key_id: UUID) -> ApiKey:
        """Return a key that is not revoked, unchanged by others until the transaction ends. Raises ApiKeyNotFound."""
        query = sa.select(api_keys).where(
            api_keys.c.organisation_id == organisation_id, api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
        )
        row = (await self._connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            raise ApiKeyNotFound
        return _api_key(row)

    async def replace(self, key_id: UUID, successor_id: UUID, expires_at: datetime) -> None:
        """Note what replaces a key, and until when it is good."""
        change = sa.update(api_keys).where(api_keys.c.id == key_id)
        await self._connection.execute(change.values(replaced_by=successor_id, expires_at=expires_at))

    async def revoke_excess(
        self, organisation_id: UUID, creator_id: UUID, allowed: frozenset[str], now: datetime
    ) -> list[UUID]:
        """Make all keys of a creator void that may do what is not in `allowed`; return their ids."""
        change = (
            sa.update(api_keys)
            .where(
                api_keys.c.organisation_id == organisation_id,
                api_keys.c.created_by == creator_id,
                api_keys.c.revoked_at.is_(None),
                sa.not_(api_keys.c.scopes.bool_op("<@")(sa.cast(sorted(allowed), ARRAY(sa.Text)))),
            )
            .values(revoked_at=now)
            .returning(api_keys.c.id)
        )
        return list(await self._connection.scalars(change))

    async def touch(self, key_id: UUID, now: datetime) -> None:
        """Record a use, at most once a minute."""
        stale = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now - _KEY_USE_RECORDED_EVERY)
        await self._connection.execute(
            sa.update(api_keys).where(api_keys.c.id == key_id, stale).values(last_used_at=now)
        )

    async def revoke(self, organisation_id: UUID, key_id: UUID, now: datetime) -> bool:
        """Make a key void; return whether it was not before. Raises ApiKeyNotFound."""
        ours = sa.and_(api_keys.c.organisation_id == organisation_id, api_keys.c.id == key_id)
        change = sa.update(api_keys).where(ours, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
        if (await self._connection.execute(change)).rowcount == 1:
            return True
        if await self._connection.scalar(sa.select(api_keys.c.id).where(ours)) is None:
            raise ApiKeyNotFound
        return False

    async def revoked_since(self, since: datetime) -> dict[UUID, datetime]:
        """Return ids of keys revoked since then, with the times."""
        query = sa.select(api_keys.c.id, api_keys.c.revoked_at).where(api_keys.c.revoked_at > since)
        return {id_: at for id_, at in await self._connection.execute(query)}  # noqa: C416  a row is no pair to mypy


class SqlSigningKeys:
    """Stored signing keys."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def all(self) -> list[SigningKey]:
        """Return all keys."""
        return [SigningKey(**row._mapping) for row in await self._connection.execute(sa.select(signing_keys))]  # noqa: SLF001

    async def add(self, key: SigningKey) -> None:
        """Store a key."""
        values = {column.name: getattr(key, column.name) for column in signing_keys.columns}
        await self._connection.execute(sa.insert(signing_keys).values(values))

    async def delete(self, key_ids: Collection[str]) -> None:
        """Forget keys, private halves and all."""
        await self._connection.execute(sa.delete(signing_keys).where(signing_keys.c.id.in_(key_ids)))

    async def lock(self) -> None:
        """Wait for others who add keys, and let nobody else until the transaction ends."""
        await self._connection.execute(sa.text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))


def _user_query(organisation_id: UUID, user_id: UUID) -> sa.Select[Any]:
    return sa.select(users).where(users.c.organisation_id == organisation_id, users.c.id == user_id)


_SESSION_COLUMNS = tuple(column.name for column in sessions.columns)
_KEY_COLUMNS = tuple(column.name for column in api_keys.columns if column.name != "key_hash")


def _organisation(row: sa.Row[Any]) -> Organisation:
    return Organisation(
        id=row.id, name=row.name, created_at=row.created_at, two_factor_required=row.two_factor_required
    )


def _user(row: sa.Row[Any]) -> User:
    return User(
        id=row.id,
        organisation_id=row.organisation_id,
        email=row.email,
        name=row.name,
        role=row.role,
        status=UserStatus(row.status),
        password_hash=row.password_hash,
        created_at=row.created_at,
        updated_at=row.updated_at,
        email_verified_at=row.email_verified_at,
        two_factor=row.two_factor,
    )


def _user_values(user: User) -> dict[str, Any]:
    return {column.name: getattr(user, column.name) for column in users.columns}


def _session(row: sa.Row[Any]) -> Session:
    return Session(**{column: getattr(row, column) for column in _SESSION_COLUMNS})


def _api_key(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(
        **{column: getattr(row, column) for column in _KEY_COLUMNS if column != "scopes"}, scopes=tuple(row.scopes)
    )
