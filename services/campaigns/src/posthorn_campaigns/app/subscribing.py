"""People subscribe by a public form, and confirm it. What the form answers never tells who is known."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from posthorn_campaigns.app.coming_back import tell_resubscribed
from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_campaigns import Mailer
from posthorn_campaigns.app.ports_opt_in import SubscribeThrottle
from posthorn_campaigns.domain.audience import ContactList, ContactStatus
from posthorn_campaigns.domain.errors import MessageRefused
from posthorn_campaigns.domain.opt_in import (
    CONFIRM_WITHIN,
    Confirmation,
    OptIn,
    confirmation_of,
    confirmation_token,
    pause_seconds,
)
from posthorn_campaigns.domain.rules import SubscriptionStatus
from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage

log = structlog.get_logger(__name__)

_AT_ONCE = 10
_LEASE_SECONDS = 60.0


class ConfirmationExpired(Exception):
    """The link has worked long enough, or what it was about is gone."""


class Subscribing:
    """The use cases of public forms and of confirmation."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        mailer: Mailer,
        throttle: SubscribeThrottle,
        clock: Clock,
        secret: bytes,
        public_base: str,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._mailer = mailer
        self._throttle = throttle
        self._clock = clock
        self._secret = secret
        self._base = public_base

    async def form(self, list_id: UUID) -> ContactList:
        """Return the list of a public form. Raises ListNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.subscriptions.public_list(list_id)

    async def subscribe(self, list_id: UUID, email: str, first_name: str, remote_address: str) -> ContactList:
        """Put an address on a list, or ask it to confirm. The same for every address, known or not.

        A list with single opt-in asks those who have left something before: only they themselves may undo that. Whoever
        has complained is left in peace. Raises ListNotFound, TooManySubscribers.
        """
        await self._throttle.attempt(list_id, remote_address)
        async with self._new_unit_of_work() as uow:
            wanted = await uow.subscriptions.public_list(list_id)
            organisation_id = wanted.organisation_id
            contact_id = await uow.subscriptions.contact_of(organisation_id, email, first_name)
            contact = await uow.contacts.get(organisation_id, contact_id)
            status = await uow.subscriptions.status(list_id, contact_id)
            is_welcome = contact.status is not ContactStatus.COMPLAINED
            is_there = status is SubscriptionStatus.SUBSCRIBED and contact.status is ContactStatus.ACTIVE
            if not is_welcome or is_there:
                return wanted
            has_left = status is SubscriptionStatus.UNSUBSCRIBED or contact.status is not ContactStatus.ACTIVE
            must_confirm = wanted.opt_in is OptIn.DOUBLE or has_left
            if status is None or not must_confirm:
                await uow.subscriptions.set_status(
                    organisation_id,
                    list_id,
                    contact_id,
                    SubscriptionStatus.UNCONFIRMED if must_confirm else SubscriptionStatus.SUBSCRIBED,
                    method="form",
                    remote_address=remote_address,
                )
            if must_confirm:
                await uow.subscriptions.ask(
                    organisation_id, list_id, contact_id, remote_address=remote_address, lifetime=CONFIRM_WITHIN
                )
        return wanted

    async def check(self, token: str) -> str:
        """Return the name of the list that a link is about. Raises InvalidConfirmationToken, ConfirmationExpired."""
        async with self._new_unit_of_work() as uow:
            found = await uow.subscriptions.confirmation(confirmation_of(token, self._secret))
        if found is None or (found[2] and found[0].confirmed_at is None):
            raise ConfirmationExpired
        return found[1]

    async def confirm(self, token: str, remote_address: str) -> str:
        """Confirm a subscription and store the proof; return the list's name. Once: later calls change nothing.

        Raises InvalidConfirmationToken, ConfirmationExpired.
        """
        async with self._new_unit_of_work() as uow:
            found = await uow.subscriptions.confirmation(confirmation_of(token, self._secret))
            if found is None:
                raise ConfirmationExpired
            asked, name, is_over = found
            if asked.confirmed_at is not None:
                return name
            if is_over:
                raise ConfirmationExpired
            await uow.subscriptions.confirm(asked.id, remote_address)
            await uow.subscriptions.set_status(
                asked.organisation_id,
                asked.list_id,
                asked.contact_id,
                SubscriptionStatus.SUBSCRIBED,
                method="confirmation",
                remote_address=remote_address,
            )
            status = ContactStatus.ACTIVE
            if await uow.contacts.set_status(asked.organisation_id, asked.contact_id, status, self._clock.now()):
                await tell_resubscribed(uow, asked.organisation_id, [asked.contact_id], self._clock)
        return name

    async def send_due_mails(self) -> int:
        """Hand confirmation mails that are due to the mailer; return how many were tried.

        A process that dies after the mailer has taken a mail leaves it due: it is handed over again under the same key,
        and sent once. While the mailer is away mails wait.
        """
        tried = 0
        while True:
            async with self._new_unit_of_work() as uow:
                due = await uow.subscriptions.claim_mails(_AT_ONCE, _LEASE_SECONDS)
            await asyncio.gather(*(self._send(*each) for each in due))
            tried += len(due)
            if len(due) < _AT_ONCE:
                return tried

    async def _send(self, asked: Confirmation, email: str, list_name: str) -> None:
        try:
            await self._mailer.send(self._letter(asked, email, list_name))
        except (TransientError, MessageRefused) as error:
            log.warning("confirmation_mail_not_taken", confirmation_id=str(asked.id), reason=type(error).__name__)
            async with self._new_unit_of_work() as uow:
                await uow.subscriptions.postpone(asked.id, pause_seconds(asked.attempts))
            return
        async with self._new_unit_of_work() as uow:
            await uow.subscriptions.handed_over(asked.id)

    def _letter(self, asked: Confirmation, email: str, list_name: str) -> TransactionalMessage:
        link = f"{self._base}/confirm/{confirmation_token(asked.id, self._secret)}"
        return TransactionalMessage(
            organisation_id=asked.organisation_id,
            idempotency_key=f"confirmation-{asked.id}",
            purpose="confirmation",
            to_email=email,
            contact_id=asked.contact_id,
            subject=f"Please confirm your subscription to {list_name}",
            text=(
                f"Somebody, hopefully you, has asked for mail of {list_name}.\n\n"
                f"To confirm that, open this page and press the button:\n{link}\n\n"
                "If it was not you, ignore this message: nothing more will come.\n"
            ),
        )
