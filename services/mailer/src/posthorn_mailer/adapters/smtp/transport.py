"""Hands messages to relays by SMTP; see the port MailTransport."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.dialling import Dialling, open_connection
from posthorn_mailer.adapters.smtp.failures import Ended
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


@dataclass(frozen=True, slots=True)
class _PoolKey:
    relay_id: UUID
    version: int


class SmtpMailTransport:
    """Keeps connections open between messages, and tells exactly how far each message came."""

    def __init__(
        self, dialling: Dialling, *, timeouts: SmtpTimeouts | None = None, reuse: ReuseLimits | None = None
    ) -> None:
        self._dialling = dialling
        self._timeouts = timeouts or SmtpTimeouts()
        self._reuse = reuse or ReuseLimits()
        self._pools: dict[_PoolKey, RelayPool] = {}

    async def send(self, relay: Relay, message: OutgoingMessage, may_go: MayGo = always) -> Attempt:
        """Hand over one message; see MailTransport.send."""
        pool = self._pool(relay)
        async with pool.slots:
            try:
                attempt = await self._send(relay, pool, message, may_go)
            except Withdrawn:
                raise
            except Exception as error:  # a defect of ours must not leave the caller without an answer
                log.exception("smtp_client_failed", relay_id=str(relay.id))
                # What was under way is unknown, so nothing may be assumed about it.
                attempt = unanswered(Stage.CONTENT, f"Our own error: {type(error).__name__}")
        reply = "none" if attempt.code is None else f"{attempt.code // 100}xx"
        _ATTEMPTS.labels(attempt.stage, reply).inc()
        return attempt

    async def probe(self, relay: Relay) -> Attempt:
        """Connect, encrypt, sign in and say NOOP, on a connection of its own; raises nothing but CancelledError.

        A relay that is fit for use has the attempt end at MAIL with a 2xx.
        """
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                connection = await open_connection(relay, self._dialling, _PROBE_TIMEOUTS)
                try:
                    return await connection.noop()
                finally:
                    await connection.close()
        except Ended as end:
            return end.attempt
        except TimeoutError:
            return unanswered(Stage.CONNECT, "No reply in time")

    async def close(self) -> None:
        """Say good-bye on idle connections; those at work are closed when their message is through."""
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            pool.retire()
        for pool in pools:
            await pool.closed()

    async def _send(self, relay: Relay, pool: RelayPool, message: OutgoingMessage, may_go: MayGo) -> Attempt:
        connection = pool.take()
        if connection is not None:
            attempt = await self._deliver(connection, pool, message, may_go)
            if not _was_closed_while_idle(connection, attempt):
                return attempt
        try:
            connection = await open_connection(relay, self._dialling, self._timeouts)
        except Ended as end:
            _CONNECTIONS.labels(f"failed_{end.attempt.stage}").inc()
            return end.attempt
        except Exception as error:  # a defect of ours; nothing of the message has been said
            log.exception("smtp_client_failed", relay_id=str(relay.id))
            return unanswered(Stage.CONNECT, f"Our own error: {type(error).__name__}")
        _CONNECTIONS.labels("opened").inc()
        return await self._deliver(connection, pool, message, may_go)

    @staticmethod
    async def _deliver(connection: SmtpConnection, pool: RelayPool, message: OutgoingMessage, may_go: MayGo) -> Attempt:
        try:
            return await connection.deliver(message, may_go)
        finally:
            pool.give_back(connection)

    def _pool(self, relay: Relay) -> RelayPool:
        key = _PoolKey(relay.id, relay.version)
        pool = self._pools.get(key)
        if pool is None:
            for other in [other for other in self._pools if other.relay_id == relay.id]:
                self._pools.pop(other).retire()
            pool = self._pools[key] = RelayPool(relay.max_connections, self._reuse)
        return pool


def _was_closed_while_idle(connection: SmtpConnection, attempt: Attempt) -> bool:
    """Whether the relay had enough of an idle connection: no fault of the message, which has not even begun."""
    return attempt.stage is Stage.MAIL and (attempt.code == 421 or (attempt.code is None and connection.lost))
