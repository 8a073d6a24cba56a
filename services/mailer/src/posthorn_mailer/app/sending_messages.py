"""Single messages: accepted durably, sent at most once, ahead of campaigns."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_common.addresses import InvalidAddress, normalise_address
from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError
from posthorn_common.jobs.ports import JobQueue
from posthorn_common.loops import stops_within
from posthorn_common.transient import is_transient
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_mailer.app.breakers import Breakers
from posthorn_mailer.app.ports_domains import Signatures, SigningKeys
from posthorn_mailer.app.ports_pace import LimitsSource, SharedPace
from posthorn_mailer.app.ports_records import NewRecords, RelayRecords
from posthorn_mailer.app.ports_transport import MailTransport, OutgoingMessage
from posthorn_mailer.app.routes import Route, Routes
from posthorn_mailer.domain.deliveries import Backoff
from posthorn_mailer.domain.errors import (
    IdempotencyKeyReused,
    InvalidMessage,
    NoRelay,
    NoSender,
    RelayNotFound,
)
from posthorn_mailer.domain.limits import Demand, everybodys_buckets
from posthorn_mailer.domain.messages import (
    Letter,
    Message,
    MessageClosing,
    MessageStatus,
    NewMessage,
    OpenedMessage,
    settle_message,
)
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt, Stage, classify, replied
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason

log = structlog.get_logger(__name__)

_ATTEMPTED = Counter(
    "posthorn_messages_attempted_total", "Attempts to send single messages, by what became of them.", ["status"]
)

SEND_MESSAGE = "send_message"
LEASE_SECONDS = 60.0
_RENEW_SECONDS = LEASE_SECONDS / 3
_REANNOUNCED = 1000
# Longer than a doorbell takes to be heard, so that the looks into the database do not do its work.
_OVERDUE_SECONDS = 2.0
_MAX_SUBJECT = 998

_CLOSE_PAUSES = (0.2, 1.0, 3.0, 10.0, 30.0)
_PACE_LOOKS = 10
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Compose = Callable[[UUID, Letter, datetime], OutgoingMessage]
"""Makes the bytes of a message from its id, its content and the time of its creation: always the same ones."""


class AcceptingMessages:
    """Takes messages in, and shows what has become of them."""

    def __init__(self, *, new_unit_of_work: NewRecords, bell: MessageBell, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._bell = bell
        self._clock = clock

    async def accept(self, wanted: TransactionalMessage) -> Message:
        """Store a message and have it sent. Idempotent by the organisation's idempotency key.

        Raises InvalidMessage, NoRelay, NoSender, and IdempotencyKeyReused for a known key with other content.
        """
        fingerprint = hashlib.sha256(wanted.model_dump_json().encode()).digest()
        async with self._new_unit_of_work() as uow:
            if await uow.erasures.share(wanted.organisation_id, [wanted.contact_id] if wanted.contact_id else []):
                raise InvalidMessage("contact_id", "is of a contact that was erased")
            known = await uow.messages.by_key(wanted.organisation_id, wanted.idempotency_key)
            if known is None:
                relay = await _relay(uow.relays, wanted.organisation_id, wanted.relay_id)
                message = self._new_message(wanted, fingerprint, relay)
                to = {message.letter.to_email: wanted.contact_id}
                await uow.suppressions.reinstate(wanted.organisation_id, to, message.created_at)
                known = await uow.messages.add(message)
        stored, before = known
        if before != fingerprint:
            raise IdempotencyKeyReused
        if stored.status is MessageStatus.PENDING:
            await self._bell.ring(stored.id, stored.attempts)
        return stored

    def _new_message(self, wanted: TransactionalMessage, fingerprint: bytes, relay: Relay) -> NewMessage:
        return NewMessage(
            id=new_id(),
            organisation_id=wanted.organisation_id,
            idempotency_key=wanted.idempotency_key,
            fingerprint=fingerprint,
            purpose=wanted.purpose,
            relay_id=wanted.relay_id,
            letter=_letter(wanted, relay),
            created_at=self._clock.now(),
            contact_id=wanted.contact_id,
        )

    async def get(self, organisation_id: UUID, message_id: UUID) -> Message:
        """Return a message. Raises MessageNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.messages.get(organisation_id, message_id)

    async def list_messages(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Message]:
        """Return messages, the newest first."""
        async with self._new_unit_of_work() as uow:
            return await uow.messages.page(organisation_id, after, limit)


class SendingMessages:
    """Sends messages that are due."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewRecords,
        routes: Routes,
        breakers: Breakers,
        transport: MailTransport,
        pace: SharedPace,
        limits: LimitsSource,
        compose: Compose,
        signing_keys: SigningKeys,
        bell: MessageBell,
        backoff: Backoff,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._routes = routes
        self._breakers = breakers
        self._transport = transport
        self._pace = pace
        self._limits = limits
        self._compose = compose
        self._signing_keys = signing_keys
        self._bell = bell
        self._backoff = backoff
        self._clock = clock

    async def send(self, message_id: UUID) -> None:
        """Send the message if it is due and nobody else is at it. Harmless when called twice, at the same time too."""
        async with self._new_unit_of_work() as uow:
            wanted = await uow.messages.due_route(message_id)
        if wanted is None:
            return
        try:
            route = await self._routes.for_message(*wanted, message_id)
        except RelayNotFound:
            async with self._new_unit_of_work() as uow:
                await uow.messages.fail(message_id, str(NoRelay()))
            return
        try:
            if route.seconds > 0:
                async with self._new_unit_of_work() as uow:
                    await uow.messages.postpone(message_id, route.seconds)
            elif await self._wait_for_turn(message_id, route.relay):
                await self._open_and_send(message_id, route)
        finally:
            self._routes.leave(route)

    async def send_overdue(self, limit: int) -> int:
        """Send messages whose bell nobody has heard; return how many were looked at."""
        async with self._new_unit_of_work() as uow:
            due = await uow.messages.due(overdue_seconds=_OVERDUE_SECONDS, limit=limit)
        await asyncio.gather(*(self.send(message_id) for message_id in due))
        return len(due)

    async def reconcile(self) -> None:
        """Mark what dead workers have left behind, and ring again for what waits."""
        async with self._new_unit_of_work() as uow:
            doubted = await uow.messages.doubt_abandoned()
            due = await uow.messages.due(overdue_seconds=_OVERDUE_SECONDS, limit=_REANNOUNCED)
        if doubted:
            log.warning("messages_in_doubt", messages=doubted)
        for message_id in due:
            if not await self._bell.ring(message_id, 0):
                return

    async def _open_and_send(self, message_id: UUID, route: Route) -> None:
        signatures = await self._signing_keys.of(route.relay.organisation_id)
        attempt_id = new_id()
        async with self._new_unit_of_work() as uow:
            opened = await uow.messages.open(message_id, attempt_id, LEASE_SECONDS)
            if opened is not None and route.relay.warm_up is not None:
                await uow.relays.count_message(route.relay)
        if opened is not None:
            await self._send(opened, attempt_id, route, signatures)

    async def _wait_for_turn(self, message_id: UUID, relay: Relay) -> bool:
        """Wait until the relay's pace allows a message; False if that takes too long for now."""
        limits = await self._limits.of(relay.organisation_id)
        buckets = everybodys_buckets(relay, limits)
        wait = 0.0
        for _ in range(_PACE_LOOKS):
            (grant,) = await self._pace.reserve([Demand(buckets, 1)], urgent=True)
            if grant.granted:
                return True
            wait = grant.seconds
            await asyncio.sleep(min(wait, 1.0))
        async with self._new_unit_of_work() as uow:
            await uow.messages.postpone(message_id, wait)
        return False

    async def _send(self, opened: OpenedMessage, attempt_id: UUID, route: Route, signatures: Signatures) -> None:
        done = asyncio.Event()
        renewing = asyncio.create_task(self._renew(opened.id, attempt_id, done))
        try:
            attempt = await self._attempt(opened, route.relay, signatures)
            closing = settle_message(opened, attempt, self._backoff, random.random)
            if closing.delay_seconds is not None and not closing.counted and self._routes.has_other(route):
                closing = replace(closing, delay_seconds=0.0)
            await self._close(opened, attempt_id, closing)
        finally:
            done.set()
            await renewing
        if closing.delay_seconds is not None:
            await self._bell.ring(opened.id, opened.attempts, delay_seconds=closing.delay_seconds)

    async def _attempt(self, opened: OpenedMessage, relay: Relay, signatures: Signatures) -> Attempt:
        try:
            outgoing = signatures.signed(self._compose(opened.id, opened.letter, opened.created_at))
        except (ValueError, TypeError, LookupError):
            log.exception("message_not_composed", message_id=str(opened.id))
            return replied(Stage.MAIL, 554, "5.6.0 Not sent: the message cannot be put together")
        attempt = await self._transport.send(relay, outgoing)
        self._breakers.of(relay.id).note(attempt, classify(attempt))
        return attempt

    async def _close(self, opened: OpenedMessage, attempt_id: UUID, closing: MessageClosing) -> None:
        """Record the outcome, also if the database is away for a moment: what is not recorded ends in doubt."""
        for pause in _CLOSE_PAUSES:
            try:
                await self._record(opened, attempt_id, closing)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("message_outcome_not_recorded", message_id=str(opened.id), error=type(error).__name__)
                await asyncio.sleep(pause)
            else:
                return
        await self._record(opened, attempt_id, closing)

    async def _record(self, opened: OpenedMessage, attempt_id: UUID, closing: MessageClosing) -> None:
        organisation_id, email = opened.organisation_id, opened.letter.to_email
        async with self._new_unit_of_work() as uow:
            recorded = await uow.messages.close(opened.id, attempt_id, closing)
            if closing.suppress and not await uow.messages.is_erased(opened.id):
                dead = Suppression(
                    organisation_id, email, SuppressionReason.HARD_BOUNCE, None, "message", self._clock.now()
                )
                await uow.suppressions.add([dead])
        _ATTEMPTED.labels(closing.status).inc()
        if not recorded:
            log.warning("message_lease_lost", message_id=str(opened.id), status=closing.status)

    async def _renew(self, message_id: UUID, attempt_id: UUID, done: asyncio.Event) -> None:
        """Keep the lease while the relay takes its time."""
        while not await stops_within(done, _RENEW_SECONDS):
            try:
                async with self._new_unit_of_work() as uow:
                    await uow.messages.renew(message_id, attempt_id, LEASE_SECONDS)
            except Exception:  # the next renewal may succeed; if none does, the message ends ambiguous
                log.exception("message_lease_not_renewed", message_id=str(message_id))


class MessageBell:
    """Rings for a worker; when Redis is away it says so in the log, and the message is found all the same."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    async def ring(self, message_id: UUID, attempts: int, *, delay_seconds: float = 0) -> bool:
        """Ring now or later; return whether the bell works."""
        try:
            # Another attempt is another job: the one at work would swallow the ring.
            await self._jobs.announce(
                f"message-{message_id}-{attempts}",
                SEND_MESSAGE,
                {"message_id": str(message_id)},
                delay_seconds=delay_seconds,
            )
        except TransientError as error:
            log.warning("message_not_announced", error=str(error))
            return False
        return True


async def _relay(relays: RelayRecords, organisation_id: UUID, relay_id: UUID | None) -> Relay:
    try:
        relay = (
            await relays.default(organisation_id) if relay_id is None else await relays.get(organisation_id, relay_id)
        )
    except RelayNotFound as error:
        raise NoRelay from error
    if relay is None:
        raise NoRelay
    return relay


def _letter(wanted: TransactionalMessage, relay: Relay) -> Letter:
    from_email = wanted.from_email or relay.from_email
    if from_email is None:
        raise NoSender
    return Letter(
        to_email=_address("to_email", wanted.to_email),
        from_name=None if wanted.from_name is None else _line("from_name", wanted.from_name, 200),
        from_email=_address("from_email", from_email),
        reply_to=None if wanted.reply_to is None else _address("reply_to", wanted.reply_to),
        subject=_line("subject", wanted.subject, _MAX_SUBJECT),
        html=None if wanted.html is None else _body("html", wanted.html),
        text=_body("text", wanted.text),
    )


def _address(field: str, text: str) -> str:
    try:
        return normalise_address(text)
    except InvalidAddress as error:
        raise InvalidMessage(field, str(error)) from error


def _line(field: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise InvalidMessage(field, f"is longer than {longest} characters")
    if _UNFIT.search(text):
        raise InvalidMessage(field, "must not contain line breaks or control characters")
    return text


def _body(field: str, text: str) -> str:
    if "\0" in text:
        raise InvalidMessage(field, "is not valid text")
    return text
