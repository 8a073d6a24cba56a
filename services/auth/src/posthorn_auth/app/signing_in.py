"""Register, sign in, refresh, sign out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_auth.app.ports import AccessTokens, LoginThrottle, NewUnitOfWork, PasswordHasher, UnitOfWork
from posthorn_auth.domain.credentials import Session, hash_secret, new_secret
from posthorn_auth.domain.errors import InvalidCredentials, InvalidRefreshToken, SessionNotFound
from posthorn_auth.domain.passwords import check_password
from posthorn_auth.domain.users import OWNER, Organisation, User, UserStatus
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import (
    OrganisationRegistered,
    OrganisationRegisteredData,
    SessionRevoked,
    SessionRevokedData,
    UserAdded,
    UserAddedData,
)
from posthorn_contracts.permissions import Role

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client gets when it signs in."""

    access_token: str
    refresh_token: str
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Registration:
    """A new organisation with its owner."""

    organisation_name: str
    name: str
    email: str
    password: str


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from."""

    address: str
    user_agent: str


class SigningIn:
    """The use cases of sessions."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        hasher: PasswordHasher,
        throttle: LoginThrottle,
        tokens: AccessTokens,
        common_passwords: Collection[str],
        clock: Clock,
        session_lifetime: timedelta,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._hasher = hasher
        self._throttle = throttle
        self._tokens = tokens
        self._common = common_passwords
        self._clock = clock
        self._lifetime = session_lifetime

    async def register(self, wanted: Registration, client: Client) -> tuple[Organisation, User, Tokens]:
        """Register an organisation with its owner, and sign the owner in. Raises WeakPassword, EmailTaken."""
        context = (wanted.name, wanted.organisation_name, wanted.email.partition("@")[0])
        check_password(wanted.password, common=self._common, context=context)
        password_hash = await self._hasher.hash(wanted.password)
        now = self._clock.now()
        organisation = Organisation(id=new_id(), name=wanted.organisation_name, created_at=now)
        owner = User(
            id=new_id(),
            organisation_id=organisation.id,
            email=wanted.email,
            name=wanted.name,
            role=OWNER,
            status=UserStatus.ACTIVE,
            password_hash=password_hash,
            created_at=now,
            updated_at=now,
        )
        async with self._new_unit_of_work() as uow:
            await uow.users.add_organisation(organisation)
            await uow.users.add(owner)
            session, refresh_token = await self._open_session(uow, owner, client)
            registered = OrganisationRegisteredData(
                organisation_id=organisation.id, name=organisation.name, owner_id=owner.id
            )
            await uow.publish(event(OrganisationRegistered, organisation.id, organisation.id, registered, self._clock))
            added = UserAddedData(user_id=owner.id, role=Role.OWNER)
            await uow.publish(event(UserAdded, owner.id, organisation.id, added, self._clock))
        return organisation, owner, await self._answer(owner, session, refresh_token)

    async def sign_in(self, email: str, password: str, client: Client) -> tuple[User, Tokens]:
        """Open a session. Raises InvalidCredentials (for unknown users after the same work), TooManyAttempts."""
        await self._throttle.check(email, client.address)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.by_email(email)
        fits = await self._hasher.verify(password, user.password_hash if user else None)
        if user is None or not fits or not user.is_active:
            await self._throttle.record_failure(email, client.address)
            log.info("login_refused", user_id=str(user.id) if user else None)
            raise InvalidCredentials
        await self._throttle.forget_account(email)
        if self._hasher.is_outdated(user.password_hash):
            user = replace(user, password_hash=await self._hasher.hash(password), updated_at=self._clock.now())
        async with self._new_unit_of_work() as uow:
            await uow.users.save(user)
            session, refresh_token = await self._open_session(uow, user, client)
        return user, await self._answer(user, session, refresh_token)

    async def refresh(self, refresh_token: str) -> tuple[User, Tokens]:
        """Exchange a refresh token for new tokens; each works once.

        A token that comes a second time was stolen, from its owner or by them: the whole session is revoked. Raises
        InvalidRefreshToken.
        """
        now = self._clock.now()
        new_refresh_token = new_secret()
        async with self._new_unit_of_work() as uow:
            session = await uow.sessions.use_token(hash_secret(refresh_token), now)
            if session is not None and session.is_open(now):
                user = await uow.users.get(session.organisation_id, session.user_id)
                if user.is_active:
                    await uow.sessions.add_token(session.id, hash_secret(new_refresh_token), now)
                    return user, await self._answer(user, session, new_refresh_token)
        await self._revoke_reused(refresh_token)
        raise InvalidRefreshToken

    async def sign_out(self, organisation_id: UUID, session_id: UUID) -> None:
        """End a session. Raises SessionNotFound; ending it twice is no error."""
        async with self._new_unit_of_work() as uow:
            session = await uow.sessions.get(organisation_id, session_id)
            await revoke_session(uow, session, self._clock)

    async def change_password(
        self, organisation_id: UUID, user_id: UUID, session_id: UUID | None, current: str, new: str
    ) -> None:
        """Set a new password and end all other sessions. Raises InvalidCredentials, WeakPassword."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.get(organisation_id, user_id)
        if not await self._hasher.verify(current, user.password_hash):
            raise InvalidCredentials
        check_password(new, common=self._common, context=(user.name, user.email.partition("@")[0]))
        password_hash = await self._hasher.hash(new)
        async with self._new_unit_of_work() as uow:
            now = self._clock.now()
            await uow.users.save(replace(user, password_hash=password_hash, updated_at=now))
            await revoke_all_sessions(uow, user, self._clock, keep=session_id)

    async def sessions(self, organisation_id: UUID, user_id: UUID, after: UUID | None, limit: int) -> list[Session]:
        """Return the user's sessions that can still be used, oldest first. Raises UserNotFound."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.get(organisation_id, user_id)
            return await uow.sessions.of_user(user.id, after, limit)

    async def revoke_own_session(self, organisation_id: UUID, user_id: UUID, session_id: UUID) -> None:
        """End one of the user's own sessions. Raises SessionNotFound."""
        async with self._new_unit_of_work() as uow:
            session = await uow.sessions.get(organisation_id, session_id)
            if session.user_id != user_id:
                raise SessionNotFound
            await revoke_session(uow, session, self._clock)

    async def delete_ended_sessions(self) -> int:
        """Delete what ended more than a day ago; return how many sessions."""
        async with self._new_unit_of_work() as uow:
            return await uow.sessions.delete_ended(self._clock.now() - timedelta(days=1))

    async def _open_session(self, uow: UnitOfWork, user: User, client: Client) -> tuple[Session, str]:
        now = self._clock.now()
        session = Session(
            id=new_id(),
            organisation_id=user.organisation_id,
            user_id=user.id,
            created_at=now,
            last_used_at=now,
            expires_at=now + self._lifetime,
            user_agent=client.user_agent[:200],
        )
        refresh_token = new_secret()
        await uow.sessions.add(session, hash_secret(refresh_token))
        return session, refresh_token

    async def _revoke_reused(self, refresh_token: str) -> None:
        async with self._new_unit_of_work() as uow:
            session = await uow.sessions.session_of_used_token(hash_secret(refresh_token))
            if session is None or not session.is_open(self._clock.now()):
                return
            log.warning("refresh_token_reused", session_id=str(session.id), user_id=str(session.user_id))
            await revoke_session(uow, session, self._clock)

    async def _answer(self, user: User, session: Session, refresh_token: str) -> Tokens:
        access_token = await self._tokens.issue_for_session(user, session)
        return Tokens(access_token=access_token, refresh_token=refresh_token, session_id=session.id)


async def revoke_session(uow: UnitOfWork, session: Session, clock: Clock) -> None:
    """End a session and tell the gateways, unless it is over already."""
    if await uow.sessions.revoke(session.id, clock.now()):
        data = SessionRevokedData(session_id=session.id, user_id=session.user_id)
        await uow.publish(event(SessionRevoked, session.id, session.organisation_id, data, clock))


async def revoke_all_sessions(uow: UnitOfWork, user: User, clock: Clock, *, keep: UUID | None = None) -> None:
    """End all sessions of a user but `keep`, and tell the gateways."""
    for session_id in await uow.sessions.revoke_all(user.id, clock.now(), keep=keep):
        data = SessionRevokedData(session_id=session_id, user_id=user.id)
        await uow.publish(event(SessionRevoked, session_id, user.organisation_id, data, clock))
