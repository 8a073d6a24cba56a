"""Mail about accounts: handed to the mailer after the commit, until it has taken it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_auth.app.account_letters import letter
from posthorn_auth.app.ports import NewUnitOfWork
from posthorn_auth.app.ports_accounts import AccountMailer
from posthorn_auth.domain.errors import MailNotTaken
from posthorn_auth.domain.mails import AccountMail, MailPurpose, mail_token, pause_seconds
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_HANDED_OVER = Counter(
    "posthorn_auth_mails_total", "Attempts to hand mail about accounts to the mailer, by outcome.", ["outcome"]
)
_LEASE_SECONDS = 60.0
_AT_ONCE = 10


class SendingMails:
    """Sends what use cases have left in the table of mails."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        mailer: AccountMailer,
        token_key: bytes,
        public_base: str,
        mail_organisation_id: UUID | None,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._mailer = mailer
        self._token_key = token_key
        self._base = public_base
        self._sender = mail_organisation_id

    async def send_due(self) -> int:
        """Hand over the mails that are due; return how many were tried.

        A process that dies after the mailer has taken a mail leaves it due: it is handed over again, under the same
        key, and the mailer sends it once.
        """
        tried = 0
        while True:
            async with self._new_unit_of_work() as uow:
                mails = await uow.mails.claim(_AT_ONCE, _LEASE_SECONDS)
            results = await asyncio.gather(*(self._send(mail) for mail in mails), return_exceptions=True)
            for mail, error in zip(mails, results, strict=True):
                if isinstance(error, BaseException):
                    await self._put_aside(mail, error)
            tried += len(mails)
            if len(mails) < _AT_ONCE:
                return tried

    async def delete_old(self) -> int:
        """Delete mails that ended a month ago, give up those that the mailer has not taken in time.

        Returns how many were deleted.
        """
        async with self._new_unit_of_work() as uow:
            deleted = await uow.mails.delete_old()
            given_up = await uow.mails.give_up()
        if given_up:
            log.warning("account_mails_given_up", count=given_up)
        return deleted

    async def _send(self, mail: AccountMail) -> None:
        organisation_id = mail.organisation_id or await self._owner(mail)
        if organisation_id is None:
            return
        async with self._new_unit_of_work() as uow:
            organisation = await uow.users.organisation(organisation_id)
        token = mail_token(mail.id, self._token_key)
        subject, text = letter(mail.purpose, base=self._base, token=token, organisation=organisation.name)
        try:
            await self._mailer.send(self._sender or organisation_id, mail.id, mail.to_email, subject, text)
        except (TransientError, MailNotTaken) as error:
            log.warning("account_mail_not_taken", mail_id=str(mail.id), purpose=mail.purpose, reason=str(error))
            _HANDED_OVER.labels("failed").inc()
            async with self._new_unit_of_work() as uow:
                await uow.mails.postpone(mail.id, pause_seconds(mail.attempts))
            return
        async with self._new_unit_of_work() as uow:
            await uow.mails.handed_over(mail.id)
        _HANDED_OVER.labels("taken").inc()

    async def _put_aside(self, mail: AccountMail, error: BaseException) -> None:
        """Let a mail wait that cannot be sent by our own fault: the others go on."""
        if not isinstance(error, Exception):
            raise error
        log.error("account_mail_failed", mail_id=str(mail.id), purpose=mail.purpose, exc_info=error)
        _HANDED_OVER.labels("failed").inc()
        async with self._new_unit_of_work() as uow:
            await uow.mails.postpone(mail.id, pause_seconds(mail.attempts))

    async def _owner(self, mail: AccountMail) -> UUID | None:
        """Return the organisation of whoever has forgotten a password; None if there is nothing to send.

        This happens here, not when somebody asks: so asking takes the same time for every address.
        """
        async with self._new_unit_of_work() as uow:
            user = await uow.users.by_email(mail.to_email)
            if user is None or not user.is_active or await uow.mails.has_fresh(user.id, MailPurpose.RESET_PASSWORD):
                await uow.mails.drop(mail.id)
                return None
            await uow.mails.assign(mail.id, user.organisation_id, user.id)
            return user.organisation_id
