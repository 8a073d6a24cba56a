"""Hands messages to relays by SMTP; see the port MailTransport."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.dialling import Dialling, open_connection
from posthorn_mailer.adapters.smtp.failures import NO_REPLY, Ended
from posthorn_mailer.adapters.smtp.pool import RelayPool
from posthorn_mailer.adapters.smtp.settings import ReuseLimits, SmtpTimeouts
from posthorn_mailer.app.ports_transport import MayGo, OutgoingMessage, Withdrawn, always
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt, Stage, unanswered

log = structlog.get_logger(__name__)

_ATTEMPTS = Counter(
    "posthorn_smtp_attempts_total", "Attempts to hand over a message, by last stage and reply.", ["stage", "reply"]
)
_CONNECTIONS = Counter("posthorn_smtp_connections_total", "Connections to relays, by how opening went.", ["result"])
_PROBE_SECONDS = 20.0
_PROBE_TIMEOUTS = SmtpTimeouts(connect=5, greeting=5, tls=5, auth=5, mail=5)


@dataclass(slots=True)
class _CurrentPool:
    """The pool for a relay's settings as they were last seen."""

    version: int
    pool: RelayPool


class SmtpMailTransport:
    """Keeps connections open between messages, and tells exactly how far each message came."""

    def __init__(
        self, dialling: Dialling, *, timeouts: SmtpTimeouts | None = None, reuse: ReuseLimits | None = None
    ) -> None:
        self._dialling = dialling
        self._timeouts = timeouts or SmtpTimeouts()
        self._reuse = reuse or ReuseLimits()
        self._pools: dict[UUID, _CurrentPool] = {}
        self._counters: dict[tuple[Stage, int | None], Counter] = {}

    async def send(self, relay: Relay, message: OutgoingMessage, may_go: MayGo = always) -> Attempt:
        """Hand over one message; see MailTransport.send."""
        pool = self._pool(relay)
        connection = await pool.take()
        try:
            if connection is not None:
                attempt = await connection.deliver(message, may_go)
                if not _was_closed_while_idle(connection, attempt):
                    return self._counted(attempt)
            connection = None
            connection = await self._open(relay)
            return self._counted(await connection.deliver(message, may_go))
        except Ended as end:
            return self._counted(end.attempt)
        except Withdrawn:
            raise
        except Exception as error:  # a defect of ours must not leave the caller without an answer
            log.exception("smtp_client_failed", relay_id=str(relay.id))
            # What was under way is unknown, so nothing may be assumed about it.
            return self._counted(unanswered(Stage.CONTENT, f"Our own error: {type(error).__name__}"))
        finally:
            pool.give_back(connection)

    def resize(self, relay: Relay, connections: int) -> int:
        """Use at most so many connections from now on; see MailTransport.resize."""
        return self._pool(relay).resize(connections)

    async def probe(self, relay: Relay) -> Attempt:
        """Connect, encrypt, sign in and say NOOP, on a connection of its own; raises nothing but CancelledError.

        A relay that is fit for use has the attempt end at MAIL with a 2xx.
        """
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                connection = await open_connection(relay, self._dialling, _PROBE_TIMEOUTS)
                try:
                    attempt = await connection.noop()
                    await connection.quit()
                    return attempt
                finally:
                    connection.abort()
        except Ended as end:
            return end.attempt
        except TimeoutError:
            return unanswered(Stage.CONNECT, NO_REPLY)

    async def close(self) -> None:
        """Say good-bye on idle connections; those at work are closed when their message is through."""
        pools = [current.pool for current in self._pools.values()]
        self._pools.clear()
        for pool in pools:
            pool.retire()
        for pool in pools:
            await pool.closed()

    async def _open(self, relay: Relay) -> SmtpConnection:
        """Raises Ended."""
        try:
            connection = await open_connection(relay, self._dialling, self._timeouts)
        except Ended as end:
            _CONNECTIONS.labels(f"failed_{end.attempt.stage}").inc()
            raise
        except Exception as error:  # a defect of ours; nothing of the message has been said
            log.exception("smtp_client_failed", relay_id=str(relay.id))
            raise Ended(unanswered(Stage.CONNECT, f"Our own error: {type(error).__name__}")) from error
        _CONNECTIONS.labels("opened").inc()
        return connection

    def _pool(self, relay: Relay) -> RelayPool:
        current = self._pools.get(relay.id)
        if current is None or current.version != relay.version:
            if current is not None:
                current.pool.retire()
            current = _CurrentPool(relay.version, RelayPool(relay.max_connections, self._reuse))
            self._pools[relay.id] = current
        return current.pool

    def _counted(self, attempt: Attempt) -> Attempt:
        key = (attempt.stage, None if attempt.code is None else attempt.code // 100)
        counter = self._counters.get(key)
        if counter is None:
            reply = "none" if key[1] is None else f"{key[1]}xx"
            counter = self._counters[key] = _ATTEMPTS.labels(attempt.stage, reply)
        counter.inc()
        return attempt


def _was_closed_while_idle(connection: SmtpConnection, attempt: Attempt) -> bool:
    """Whether the relay had enough of an idle connection: no fault of the message, which has not even begun."""
    return attempt.stage is Stage.MAIL and (attempt.code == 421 or (attempt.code is None and connection.lost))
