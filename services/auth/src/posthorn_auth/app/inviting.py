"""Invitations: by mail, to join an organisation in a role."""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

from posthorn_auth.app.account_actions import by_user
from posthorn_auth.app.joining import Actor, Joining, join, present_role
from posthorn_auth.app.mail_quota import MailQuota
from posthorn_auth.app.passwords import NewPasswords
from posthorn_auth.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_auth.domain.credentials import hash_secret
from posthorn_auth.domain.errors import EmailTaken, LinkNotValid, NotAllowed, TooManyAttempts, UserNotFound
from posthorn_auth.domain.invitations import Invitation
from posthorn_auth.domain.mails import MailPurpose, NewMail
from posthorn_auth.domain.users import User, check_may_add
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id

_SECONDS_BETWEEN_MAILS = 60
_LINK = (MailPurpose.INVITATION,)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What somebody who accepts an invitation tells."""

    token: str
    name: str
    password: str
    address: str
    """The network address that it comes from."""


class Inviting:
    """The use cases of invitations."""

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, passwords: NewPasswords, quota: MailQuota, clock: Clock
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._quota = quota
        self._passwords = passwords
        self._clock = clock

    async def invite(self, actor: Actor, email: str, role: str) -> Invitation:
        """Invite somebody.

        Raises NotAllowed, InvitationExists, EmailTaken (by a user of this organisation), TooManyAttempts. Users of
        others are invited like anybody: who has an account elsewhere is nobody's business.
        """
        async with self._new_unit_of_work() as uow:
            check_may_add(await present_role(uow, actor), role)
            user = await uow.users.by_email(email)
            if user is not None and user.organisation_id == actor.organisation_id:
                raise EmailTaken
            await self._quota.check(uow, actor.organisation_id)
            invitation = await uow.invitations.add(new_id(), actor.organisation_id, email, role, actor.user_id)
            concerns("invitation", invitation.id)
            await _send(uow, invitation)
        return invitation

    async def list_invitations(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Invitation]:
        """Return invitations that are open or have expired, in order of their ids."""
        async with self._new_unit_of_work() as uow:
            return await uow.invitations.page(organisation_id, after, limit)

    async def resend(self, actor: Actor, invitation_id: UUID) -> Invitation:
        """Send a new link, for another seven days; the old one is void.

        Raises InvitationNotFound, NotAllowed, TooManyAttempts within a minute after the last one.
        """
        async with self._new_unit_of_work() as uow:
            await self._quota.check(uow, actor.organisation_id)
            invitation = await uow.invitations.lock(actor.organisation_id, invitation_id)
            check_may_add(await present_role(uow, actor), invitation.role)
            age = await uow.mails.seconds_since_last(invitation.id)
            if age is not None and age < _SECONDS_BETWEEN_MAILS:
                raise TooManyAttempts(math.ceil(_SECONDS_BETWEEN_MAILS - age))
            await uow.mails.void_of_invitation(invitation.id)
            extended = await uow.invitations.extend(invitation.id)
            await _send(uow, extended)
        return extended

    async def revoke(self, actor: Actor, invitation_id: UUID) -> None:
        """Make an invitation void. Raises InvitationNotFound, NotAllowed."""
        async with self._new_unit_of_work() as uow:
            invitation = await uow.invitations.lock(actor.organisation_id, invitation_id)
            check_may_add(await present_role(uow, actor), invitation.role)
            await uow.mails.void_of_invitation(invitation.id)
            await uow.invitations.revoke(invitation.id)

    async def accept(self, acceptance: Acceptance) -> User:
        """Become a user of the organisation, with a name and a password.

        Raises LinkNotValid, WeakPassword, EmailTaken. Whoever has lost the right to invite takes their open
        invitations along.
        """
        token_hash = hash_secret(acceptance.token)
        async with self._new_unit_of_work() as uow:
            mail = await uow.mails.find(token_hash, _LINK)
        if mail is None or mail.invitation_id is None:
            raise LinkNotValid  # before a password is hashed: that costs
        password_hash = await self._passwords.hash(acceptance.password, name=acceptance.name, email=mail.to_email)
        async with self._new_unit_of_work() as uow:
            # The invitation first, as whoever revokes it or sends it again: else the two could wait for each other.
            invitation = await uow.invitations.accept(mail.invitation_id)
            if invitation is None or await uow.mails.use(token_hash, _LINK) is None:
                raise LinkNotValid
            await self._check_inviter(uow, invitation)
            joining = Joining(
                organisation_id=invitation.organisation_id,
                email=invitation.email,
                name=acceptance.name,
                role=invitation.role,
                password_hash=password_hash,
                email_verified=True,
            )
            user = await join(uow, joining, self._clock)
            await uow.publish(by_user("accept_invitation", user, acceptance.address))
        return user

    async def delete_old(self) -> int:
        """Delete invitations that nobody can accept any more, with the addresses in them; return how many."""
        async with self._new_unit_of_work() as uow:
            return await uow.invitations.delete_old()

    async def _check_inviter(self, uow: UnitOfWork, invitation: Invitation) -> None:
        try:
            inviter = await uow.users.lock(invitation.organisation_id, invitation.invited_by)
            check_may_add(inviter.role, invitation.role)
        except (UserNotFound, NotAllowed) as error:
            raise LinkNotValid from error
        if not inviter.is_active:
            raise LinkNotValid


async def _send(uow: UnitOfWork, invitation: Invitation) -> None:
    await uow.mails.add(
        NewMail(
            MailPurpose.INVITATION,
            invitation.email,
            organisation_id=invitation.organisation_id,
            invitation_id=invitation.id,
        )
    )
