"""Addresses: confirm, change; and a new password for whoever reads mail there."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from posthorn_auth.app.account_actions import by_user
from posthorn_auth.app.mail_quota import MailQuota
from posthorn_auth.app.passwords import NewPasswords, PasswordProof
from posthorn_auth.app.ports import LoginThrottle, NewUnitOfWork, UnitOfWork
from posthorn_auth.app.signing_in import Client, revoke_all_sessions
from posthorn_auth.domain.credentials import hash_secret
from posthorn_auth.domain.errors import LinkNotValid, UserNotFound
from posthorn_auth.domain.mails import AccountMail, MailPurpose, NewMail
from posthorn_auth.domain.users import User
from posthorn_common.clock import Clock

_CONFIRMING = (MailPurpose.VERIFY_EMAIL, MailPurpose.CHANGE_EMAIL)
_RESETTING = (MailPurpose.RESET_PASSWORD,)


class ProvingAddresses:
    """The use cases of links in mail that prove that somebody reads it."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        passwords: NewPasswords,
        proof: PasswordProof,
        throttle: LoginThrottle,
        quota: MailQuota,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._passwords = passwords
        self._proof = proof
        self._throttle = throttle
        self._quota = quota
        self._clock = clock

    async def ask_to_verify(self, organisation_id: UUID, user_id: UUID) -> None:
        """Send the user a link to confirm the address, unless it is confirmed, or one was sent lately."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            if not user.email_verified and not await uow.mails.has_fresh(user.id, MailPurpose.VERIFY_EMAIL):
                await send_to(uow, user, MailPurpose.VERIFY_EMAIL)

    async def ask_to_change(
        self, organisation_id: UUID, user_id: UUID, new_email: str, password: str, client: Client
    ) -> None:
        """Send a link to the new address and a notice to the old one.

        Raises InvalidCredentials, TooManyAttempts. Whether somebody has the new address already is not told here, but
        to whoever opens the link.
        """
        await self._proof.check(organisation_id, user_id, password, client.address)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            await self._quota.check(uow, organisation_id)
            await uow.mails.void_of_user(user.id, MailPurpose.CHANGE_EMAIL)
            wanted = NewMail(MailPurpose.CHANGE_EMAIL, new_email, organisation_id=user.organisation_id, user_id=user.id)
            await uow.mails.add(wanted)
            await send_to(uow, user, MailPurpose.EMAIL_CHANGE_REQUESTED)

    async def confirm(self, token: str, client: Client) -> User:
        """Confirm an address by the token that was sent to it; a new one becomes the user's.

        Raises LinkNotValid, EmailTaken.
        """
        async with self._new_unit_of_work() as uow:
            mail, user = await _use(uow, hash_secret(token), _CONFIRMING)
            now = self._clock.now()
            if mail.purpose is MailPurpose.VERIFY_EMAIL and mail.to_email != user.email:
                raise LinkNotValid
            changed = replace(user, email=mail.to_email, email_verified_at=now, updated_at=now)
            await uow.users.save(changed)
            await uow.publish(by_user("confirm_email", changed, client.address))
            if changed.email != user.email:
                await uow.mails.void_of_user(user.id, MailPurpose.RESET_PASSWORD)
                await send_to(uow, user, MailPurpose.EMAIL_CHANGED)
        return changed

    async def ask_to_reset(self, email: str) -> None:
        """Send whoever has the address a link to choose a new password. The same work for any address."""
        async with self._new_unit_of_work() as uow:
            await uow.mails.add(NewMail(MailPurpose.RESET_PASSWORD, email))

    async def reset(self, token: str, password: str, client: Client) -> None:
        """Set a new password by a token from a mail, and end all sessions. A second factor stays.

        The address of the client is known for the account from then on: whoever reads its mail gets in, though a
        stranger may use up the attempts of everybody else. Raises LinkNotValid, WeakPassword.
        """
        token_hash = hash_secret(token)
        async with self._new_unit_of_work() as uow:
            user = await _owner(uow, await uow.mails.find(token_hash, _RESETTING))
        if user is None:
            raise LinkNotValid  # before a password is hashed: that costs
        password_hash = await self._passwords.hash(password, name=user.name, email=user.email)
        async with self._new_unit_of_work() as uow:
            mail, user = await _use(uow, token_hash, _RESETTING)
            if mail.to_email != user.email:
                raise LinkNotValid
            now = self._clock.now()
            await uow.users.save(replace(user, password_hash=password_hash, email_verified_at=now, updated_at=now))
            await uow.mails.void_of_user(user.id, MailPurpose.RESET_PASSWORD)
            await revoke_all_sessions(uow, user, self._clock)
            await send_to(uow, user, MailPurpose.PASSWORD_CHANGED)
            await uow.publish(by_user("reset_password", user, client.address))
        await self._throttle.succeed(user.email, client.address)


async def send_to(uow: UnitOfWork, user: User, purpose: MailPurpose) -> None:
    """Have mail sent to the user's present address."""
    await uow.mails.add(NewMail(purpose, user.email, organisation_id=user.organisation_id, user_id=user.id))


async def _use(uow: UnitOfWork, token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> tuple[AccountMail, User]:
    """Make a token void; return its mail, and the user that it belongs to, locked. Raises LinkNotValid."""
    # The user first, as whoever makes a user's tokens void: else the two could wait for each other.
    user = await _owner(uow, await uow.mails.find(token_hash, purposes))
    mail = await uow.mails.use(token_hash, purposes)
    if user is None or mail is None:
        raise LinkNotValid
    return mail, user


async def _owner(uow: UnitOfWork, mail: AccountMail | None) -> User | None:
    """Return the active user that a mail belongs to, unchanged by others until the transaction ends."""
    if mail is None or mail.organisation_id is None or mail.user_id is None:
        return None
    try:
        user = await uow.users.lock(mail.organisation_id, mail.user_id)
    except UserNotFound:
        return None
    return user if user.is_active else None
