"""Invitations, and mail about accounts, in PostgreSQL; see the ports of the same names. Its clock decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.adapters.db.tables import account_mails, invitations
from posthorn_auth.domain.credentials import hash_secret
from posthorn_auth.domain.errors import InvitationExists, InvitationNotFound
from posthorn_auth.domain.invitations import Invitation
from posthorn_auth.domain.mails import (
    LIFETIMES,
    TO_STRANGERS,
    AccountMail,
    MailPurpose,
    NewMail,
    has_link,
    kept_for,
    lifetime,
    mail_token,
)
from posthorn_common.clock import new_id

_NOW = sa.func.clock_timestamp()
_KEPT_FOR = timedelta(days=30)
_OPEN = (invitations.c.accepted_at.is_(None), invitations.c.revoked_at.is_(None))
_INVITATION = [invitations.c[name] for name in Invitation.__dataclass_fields__]
_MAIL = [account_mails.c[name] for name in AccountMail.__dataclass_fields__]


class SqlMails:
    """Stored mail about accounts, and the tokens in it."""

    def __init__(self, connection: AsyncConnection, token_key: bytes) -> None:
        self._connection = connection
        self._token_key = token_key

    async def add(self, mail: NewMail) -> None:
        """Have a mail sent after the commit; a reset that waits already for the address is not added again."""
        mail_id = new_id()
        values = {
            "id": mail_id,
            "purpose": mail.purpose,
            "to_email": mail.to_email,
            "organisation_id": mail.organisation_id,
            "user_id": mail.user_id,
            "invitation_id": mail.invitation_id,
            "token_hash": hash_secret(mail_token(mail_id, self._token_key)) if has_link(mail.purpose) else None,
            "created_at": _NOW,
            "expires_at": _NOW + kept_for(mail.purpose),
            "next_attempt_at": _NOW,
        }
        await self._connection.execute(insert(account_mails).values(values).on_conflict_do_nothing())

    async def claim(self, limit: int, lease_seconds: float) -> list[AccountMail]:
        """Return mails that are due, and keep them from others for a while."""
        due = (
            sa.select(account_mails.c.id)
            .where(account_mails.c.next_attempt_at <= _NOW, account_mails.c.expires_at > _NOW)
            .order_by(account_mails.c.next_attempt_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claimed = (
            sa.update(account_mails)
            .where(account_mails.c.id.in_(sa.select(due.c.id)))
            .values(next_attempt_at=_NOW + timedelta(seconds=lease_seconds), attempts=account_mails.c.attempts + 1)
            .returning(*_MAIL)
        )
        return [_mail(row) for row in await self._connection.execute(claimed)]

    async def assign(self, mail_id: UUID, organisation_id: UUID, user_id: UUID) -> None:
        """Say whose mail it is."""
        await self._change(mail_id, organisation_id=organisation_id, user_id=user_id)

    async def has_fresh(self, user_id: UUID, purpose: MailPurpose) -> bool:
        """Whether one waits, or was sent with a link that works for half of its time yet."""
        fresh = sa.or_(
            account_mails.c.next_attempt_at.is_not(None), account_mails.c.expires_at > _NOW + lifetime(purpose) / 2
        )
        query = sa.select(account_mails.c.id).where(*_of_user(user_id, purpose), *_USABLE, fresh).limit(1)
        return await self._connection.scalar(query) is not None

    async def handed_over(self, mail_id: UUID) -> None:
        """The mailer has the mail: its link works from now on for its lifetime."""
        lifetimes = sa.case(
            {purpose.value: sa.literal(time, sa.Interval) for purpose, time in LIFETIMES.items()},
            value=account_mails.c.purpose,
            else_=sa.literal(timedelta(0), sa.Interval),
        )
        await self._change(mail_id, next_attempt_at=None, expires_at=_NOW + lifetimes)

    async def postpone(self, mail_id: UUID, seconds: float) -> None:
        """Let a mail wait, unless it was made void meanwhile."""
        change = sa.update(account_mails).where(
            account_mails.c.id == mail_id, account_mails.c.next_attempt_at.is_not(None)
        )
        await self._connection.execute(change.values(next_attempt_at=_NOW + timedelta(seconds=seconds)))

    async def drop(self, mail_id: UUID) -> None:
        """Forget a mail."""
        await self._connection.execute(sa.delete(account_mails).where(account_mails.c.id == mail_id))

    async def find(self, token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> AccountMail | None:
        """Return the mail whose token can still be used."""
        query = sa.select(*_MAIL).where(*_token(token_hash, purposes))
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _mail(row)

    async def use(self, token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> AccountMail | None:
        """Make the token void and return its mail: exactly one of several callers gets it."""
        used = sa.update(account_mails).where(*_token(token_hash, purposes)).values(used_at=_NOW, next_attempt_at=None)
        row = (await self._connection.execute(used.returning(*_MAIL))).one_or_none()
        return None if row is None else _mail(row)

    async def void_of_user(self, user_id: UUID, purpose: MailPurpose) -> None:
        """Make all the user's tokens of a kind void."""
        await self._void(*_of_user(user_id, purpose))

    async def void_of_invitation(self, invitation_id: UUID) -> None:
        """Make all tokens of an invitation void."""
        await self._void(account_mails.c.invitation_id == invitation_id)

    async def seconds_since_last(self, invitation_id: UUID) -> float | None:
        """Return how long ago a mail of the invitation was added."""
        age = sa.func.extract("epoch", _NOW - sa.func.max(account_mails.c.created_at))
        query = sa.select(age).where(account_mails.c.invitation_id == invitation_id)
        found = await self._connection.scalar(query)
        return None if found is None else float(found)

    async def sent_to_strangers(self, organisation_id: UUID) -> int:
        """Return how many mails of a day went to addresses that nobody had confirmed."""
        query = sa.select(sa.func.count()).where(
            account_mails.c.organisation_id == organisation_id,
            account_mails.c.purpose.in_(TO_STRANGERS),
            account_mails.c.created_at > _NOW - timedelta(days=1),
        )
        return int(await self._connection.scalar(query) or 0)

    async def give_up(self) -> int:
        """Let nobody look any more at mails that the mailer has not taken in their time; return how many."""
        over = sa.update(account_mails).where(
            account_mails.c.next_attempt_at.is_not(None), account_mails.c.expires_at <= _NOW
        )
        return (await self._connection.execute(over.values(next_attempt_at=None))).rowcount

    async def delete_old(self) -> int:
        """Delete what ended a month ago, and what has nobody; return how many."""
        nobodys = sa.and_(account_mails.c.organisation_id.is_(None), account_mails.c.expires_at < _NOW)
        old = sa.or_(account_mails.c.expires_at < _NOW - _KEPT_FOR, nobodys)
        return (await self._connection.execute(sa.delete(account_mails).where(old))).rowcount

    async def _void(self, *which: sa.ColumnElement[bool]) -> None:
        change = sa.update(account_mails).where(*which, account_mails.c.used_at.is_(None))
        await self._connection.execute(change.values(used_at=_NOW, next_attempt_at=None))

    async def _change(self, mail_id: UUID, **values: Any) -> None:
        await self._connection.execute(sa.update(account_mails).where(account_mails.c.id == mail_id).values(values))


class SqlInvitations:
    """Stored invitations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, invitation_id: UUID, organisation_id: UUID, email: str, role: str, by: UUID) -> Invitation:
        """Store an invitation; one that has expired makes room. Raises InvitationExists."""
        expired = sa.update(invitations).where(
            invitations.c.organisation_id == organisation_id,
            invitations.c.email == email,
            invitations.c.expires_at <= _NOW,
            *_OPEN,
        )
        await self._connection.execute(expired.values(revoked_at=_NOW))
        values = {
            "id": invitation_id,
            "organisation_id": organisation_id,
            "email": email,
            "role": role,
            "invited_by": by,
            "created_at": _NOW,
            "expires_at": _NOW + lifetime(MailPurpose.INVITATION),
        }
        added = insert(invitations).values(values).on_conflict_do_nothing().returning(*_INVITATION)
        row = (await self._connection.execute(added)).one_or_none()
        if row is None:
            raise InvitationExists
        return Invitation(**row._mapping)  # noqa: SLF001

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Invitation]:
        """Return those that are neither accepted nor revoked, by id."""
        query = sa.select(*_INVITATION).where(invitations.c.organisation_id == organisation_id, *_OPEN)
        if after is not None:
            query = query.where(invitations.c.id > after)
        rows = await self._connection.execute(query.order_by(invitations.c.id).limit(limit))
        return [Invitation(**row._mapping) for row in rows]  # noqa: SLF001

    async def lock(self, organisation_id: UUID, invitation_id: UUID) -> Invitation:
        """Return one that is neither accepted nor revoked, unchanged by others. Raises InvitationNotFound."""
        query = sa.select(*_INVITATION).where(
            invitations.c.organisation_id == organisation_id, invitations.c.id == invitation_id, *_OPEN
        )
        row = (await self._connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            raise InvitationNotFound
        return Invitation(**row._mapping)  # noqa: SLF001

    async def extend(self, invitation_id: UUID) -> Invitation:
        """Let it live for another lifetime."""
        change = sa.update(invitations).where(invitations.c.id == invitation_id)
        extended = change.values(expires_at=_NOW + lifetime(MailPurpose.INVITATION)).returning(*_INVITATION)
        return Invitation(**(await self._connection.execute(extended)).one()._mapping)  # noqa: SLF001

    async def accept(self, invitation_id: UUID) -> Invitation | None:
        """Mark it as accepted if it is open."""
        change = sa.update(invitations).where(
            invitations.c.id == invitation_id, invitations.c.expires_at > _NOW, *_OPEN
        )
        row = (await self._connection.execute(change.values(accepted_at=_NOW).returning(*_INVITATION))).one_or_none()
        return None if row is None else Invitation(**row._mapping)  # noqa: SLF001

    async def revoke(self, invitation_id: UUID) -> None:
        """Mark it as revoked."""
        change = sa.update(invitations).where(invitations.c.id == invitation_id)
        await self._connection.execute(change.values(revoked_at=_NOW))

    async def delete_old(self) -> int:
        """Delete those that were accepted or revoked a month ago, once their mail is gone; return how many."""
        ended = sa.or_(invitations.c.accepted_at < _NOW - _KEPT_FOR, invitations.c.revoked_at < _NOW - _KEPT_FOR)
        has_mail = sa.exists().where(account_mails.c.invitation_id == invitations.c.id)
        return (await self._connection.execute(sa.delete(invitations).where(ended, ~has_mail))).rowcount


_USABLE = (account_mails.c.used_at.is_(None), account_mails.c.expires_at > _NOW)


def _token(token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> tuple[sa.ColumnElement[bool], ...]:
    return account_mails.c.token_hash == token_hash, account_mails.c.purpose.in_(purposes), *_USABLE


def _of_user(user_id: UUID, purpose: MailPurpose) -> tuple[sa.ColumnElement[bool], ...]:
    return account_mails.c.user_id == user_id, account_mails.c.purpose == purpose


def _mail(row: sa.Row[Any]) -> AccountMail:
    values = dict(row._mapping)  # noqa: SLF001
    return AccountMail(**{**values, "purpose": MailPurpose(values["purpose"])})
