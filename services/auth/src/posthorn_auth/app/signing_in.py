"""Register, sign in, refresh, sign out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from posthorn_auth.app.account_actions import by_user, refused_sign_in
from posthorn_auth.app.passwords import NewPasswords, PasswordProof
from posthorn_auth.app.ports import AccessTokens, LoginThrottle, NewUnitOfWork, PasswordHasher, UnitOfWork
from posthorn_auth.domain.credentials import Session, hash_secret, new_secret, successor
from posthorn_auth.domain.errors import (
    ChallengeNotValid,
    InvalidCode,
    InvalidCredentials,
    InvalidRefreshToken,
    SessionNotFound,
)
from posthorn_auth.domain.mails import MailPurpose, NewMail
from posthorn_auth.domain.second_factors import Enrolment
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


@dataclass(frozen=True, slots=True)
class Challenge:
    """The password was right; a code is to come. With an `enrolment`, one of an app that is yet to be set up."""

    token: str
    enrolment: Enrolment | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who has signed in. `recovery_codes` are shown this once, when a second factor was set up with it."""

    user: User
    tokens: Tokens
    recovery_codes: list[str] | None = None


class FactorCodes(Protocol):
    """Makes and checks second factors."""

    async def begin(self, uow: UnitOfWork, user: User) -> Enrolment: ...
    async def confirm(self, uow: UnitOfWork, user: User, code: str) -> tuple[User, list[str]] | None: ...
    async def check(self, uow: UnitOfWork, user: User, code: str) -> bool: ...


class SigningIn:
    """The use cases of sessions."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        hasher: PasswordHasher,
        throttle: LoginThrottle,
        passwords: NewPasswords,
        proof: PasswordProof,
        factors: FactorCodes,
        tokens: AccessTokens,
        clock: Clock,
        session_lifetime: timedelta,
        successor_key: bytes,
        verify_at_once: bool,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._hasher = hasher
        self._throttle = throttle
        self._factors = factors
        self._tokens = tokens
        self._passwords = passwords
        self._proof = proof
        self._clock = clock
        self._lifetime = session_lifetime
        self._successor_key = successor_key
        self._verify_at_once = verify_at_once

    async def register(self, wanted: Registration, client: Client) -> tuple[Organisation, User, Tokens]:
        """Register an organisation with its owner, and sign the owner in. Raises WeakPassword, EmailTaken."""
        password_hash = await self._passwords.hash(
            wanted.password, name=wanted.name, email=wanted.email, more=(wanted.organisation_name,)
        )
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
            if self._verify_at_once:
                mail = NewMail(MailPurpose.VERIFY_EMAIL, owner.email, organisation_id=organisation.id, user_id=owner.id)
                await uow.mails.add(mail)
            session, refresh_token = await self.open_session(uow, owner, client)
            registered = OrganisationRegisteredData(
                organisation_id=organisation.id, name=organisation.name, owner_id=owner.id
            )
            await uow.publish(event(OrganisationRegistered, organisation.id, organisation.id, registered, self._clock))
            added = UserAddedData(user_id=owner.id, role=Role.OWNER)
            await uow.publish(event(UserAdded, owner.id, organisation.id, added, self._clock))
        return organisation, owner, await self.answer(owner, session, refresh_token)

    async def sign_in(self, email: str, password: str, client: Client) -> SignedIn | Challenge:
        """Open a session, or ask for the second factor if the user has one or the organisation requires it.

        Raises InvalidCredentials (for unknown users after the same work), TooManyAttempts.
        """
        await self._throttle.attempt(email, client.address)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.by_email(email)
        fits = await self._hasher.verify(password, user.password_hash if user else None)
        if user is None or not fits:
            raise await self._refused(user, client)
        outdated = self._hasher.is_outdated(user.password_hash)
        new_hash = await self._hasher.hash(password) if outdated else user.password_hash
        async with self._new_unit_of_work() as uow:
            # Hashing takes its time: the user may have been deactivated meanwhile, or have another password.
            current = await uow.users.lock(user.organisation_id, user.id)
            is_still = current.is_active and current.password_hash == user.password_hash
            if is_still:
                if outdated:
                    current = replace(current, password_hash=new_hash, updated_at=self._clock.now())
                    await uow.users.save(current)
                organisation = await uow.users.organisation(current.organisation_id, stays=True)
                if current.two_factor or organisation.two_factor_required:
                    return await self._challenge(uow, current)
                session, refresh_token = await self.open_session(uow, current, client)
        if not is_still:
            raise await self._refused(user, client)
        await self._throttle.succeed(email, client.address)
        return SignedIn(current, await self.answer(current, session, refresh_token))

    async def give_second_factor(self, challenge: str, code: str, client: Client) -> SignedIn:
        """Open a session with the second factor; one that is being set up counts from now on.

        Raises ChallengeNotValid (also after five attempts, or when the password was changed meanwhile), InvalidCode,
        TooManyAttempts.
        """
        token_hash = hash_secret(challenge)
        async with self._new_unit_of_work() as uow:
            whose = await uow.factors.attempt(token_hash)
        if whose is None:
            raise ChallengeNotValid
        await self._throttle.attempt_code(whose[1])
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(*whose)
            if not user.is_active or not await uow.factors.end_challenge(token_hash):
                raise ChallengeNotValid
            recovery_codes = None
            if user.two_factor:
                fits = await self._factors.check(uow, user, code)
            else:
                confirmed = await self._factors.confirm(uow, user, code)
                fits = confirmed is not None
                user, recovery_codes = confirmed or (user, None)
            if not fits:
                raise InvalidCode  # and the challenge is there as before
            session, refresh_token = await self.open_session(uow, user, client)
        await self._throttle.succeed_code(user.id)
        await self._throttle.succeed(user.email, client.address)
        return SignedIn(user, await self.answer(user, session, refresh_token), recovery_codes)

    async def refresh(self, refresh_token: str, client: Client) -> tuple[User, Tokens]:
        """Exchange a refresh token for new tokens; each works once.

        A client whose answer was lost may try again for ten seconds, and gets the same token. Otherwise a token that
        comes a second time was stolen, from its owner or by them: the whole session is revoked. Raises
        InvalidRefreshToken.
        """
        following = successor(refresh_token, self._successor_key)
        async with self._new_unit_of_work() as uow:
            session = await self._use(uow, hash_secret(refresh_token), hash_secret(following), client)
            user = None if session is None else await uow.users.get(session.organisation_id, session.user_id)
        if session is None or user is None or not user.is_active:
            raise InvalidRefreshToken
        return user, await self.answer(user, session, following)

    async def sign_out(self, organisation_id: UUID, session_id: UUID) -> None:
        """End a session. Raises SessionNotFound; ending it twice is no error."""
        async with self._new_unit_of_work() as uow:
            session = await uow.sessions.get(organisation_id, session_id)
            await revoke_session(uow, session, self._clock)

    async def change_password(
        self, organisation_id: UUID, user_id: UUID, session_id: UUID | None, passwords: tuple[str, str], client: Client
    ) -> None:
        """Set a new password, the second, and end all other sessions.

        Raises InvalidCredentials, WeakPassword, TooManyAttempts: whoever has found an open session must not guess on.
        """
        current, new = passwords
        user = await self._proof.check(organisation_id, user_id, current, client.address)
        password_hash = await self._passwords.hash(new, name=user.name, email=user.email)
        async with self._new_unit_of_work() as uow:
            latest = await uow.users.lock(organisation_id, user_id)
            if latest.password_hash != user.password_hash:
                raise InvalidCredentials
            await uow.users.save(replace(latest, password_hash=password_hash, updated_at=self._clock.now()))
            await revoke_all_sessions(uow, latest, self._clock, keep=session_id)
            await uow.mails.void_of_user(latest.id, MailPurpose.RESET_PASSWORD)
            notice = NewMail(
                MailPurpose.PASSWORD_CHANGED, latest.email, organisation_id=organisation_id, user_id=latest.id
            )
            await uow.mails.add(notice)

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

    async def revoke_other_sessions(self, organisation_id: UUID, user_id: UUID, keep: UUID | None) -> None:
        """End all of the user's sessions but one. Raises UserNotFound."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            await revoke_all_sessions(uow, user, self._clock, keep=keep)

    async def revoked_within(self, seconds: float) -> dict[UUID, datetime]:
        """Return ids of sessions and API keys revoked within the last `seconds`, with the times.

        Events say the same sooner; this is for when they do not come.
        """
        since = self._clock.now() - timedelta(seconds=seconds)
        async with self._new_unit_of_work() as uow:
            return {**await uow.sessions.revoked_since(since), **await uow.api_keys.revoked_since(since)}

    async def delete_ended_sessions(self) -> int:
        """Delete what ended more than a day ago; return how many sessions."""
        async with self._new_unit_of_work() as uow:
            await uow.factors.delete_ended()
            await uow.providers.delete_ended_logins()
            return await uow.sessions.delete_ended(self._clock.now() - timedelta(days=1))

    async def _challenge(self, uow: UnitOfWork, user: User) -> Challenge:
        enrolment = None if user.two_factor else await self._factors.begin(uow, user)
        token = new_secret()
        await uow.factors.add_challenge(hash_secret(token), user.organisation_id, user.id)
        return Challenge(token, enrolment)

    async def open_session(self, uow: UnitOfWork, user: User, client: Client) -> tuple[Session, str]:
        """Open a session for somebody who has proved who they are; return it with its refresh token."""
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
        await uow.publish(by_user("sign_in", user, client.address))
        return session, refresh_token

    async def _use(self, uow: UnitOfWork, token_hash: bytes, following_hash: bytes, client: Client) -> Session | None:
        """Return the session that a refresh token is good for; one that is good no more ends its session."""
        now = self._clock.now()
        client_hash = hash_secret(client.user_agent)
        session = await uow.sessions.use_token(token_hash, client_hash, now)
        if session is not None:
            if not session.is_open(now):
                return None
            await uow.sessions.add_token(session.id, following_hash, now)
            return session
        used = await uow.sessions.used_token(token_hash, following_hash)
        if used is None:
            return None
        if used.may_repeat(client_hash, now):
            return used.session
        if used.session.is_open(now):
            log.warning("refresh_token_reused", session_id=str(used.session.id), user_id=str(used.session.user_id))
            await revoke_session(uow, used.session, self._clock)
        return None

    async def _refused(self, user: User | None, client: Client) -> InvalidCredentials:
        log.info("login_refused", user_id=str(user.id) if user else None)
        async with self._new_unit_of_work() as uow:  # for nobody as well: it must not be quicker
            await uow.publish(refused_sign_in(user, client.address))
        return InvalidCredentials()

    async def answer(self, user: User, session: Session, refresh_token: str) -> Tokens:
        """Return the tokens of a session, once it is stored."""
        access_token = await self._tokens.issue_for_session(user, session)
        return Tokens(access_token=access_token, refresh_token=refresh_token, session_id=session.id)


async def revoke_session(uow: UnitOfWork, session: Session, clock: Clock) -> None:
    """End a session and tell the gateways, unless it is over already."""
    if await uow.sessions.revoke(session.id, clock.now()):
        data = SessionRevokedData(session_id=session.id, user_id=session.user_id)
        await uow.publish(event(SessionRevoked, session.id, session.organisation_id, data, clock))


async def revoke_all_sessions(uow: UnitOfWork, user: User, clock: Clock, *, keep: UUID | None = None) -> None:
    """End all sessions of a user but `keep`, and logins that are not complete; tell the gateways."""
    await uow.factors.void_challenges(user.id)
    for session_id in await uow.sessions.revoke_all(user.id, clock.now(), keep=keep):
        data = SessionRevokedData(session_id=session_id, user_id=user.id)
        await uow.publish(event(SessionRevoked, session_id, user.organisation_id, data, clock))
