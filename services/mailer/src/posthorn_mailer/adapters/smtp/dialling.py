"""Opening a connection: connect, greet, encrypt, sign in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from posthorn_mailer.adapters.smtp.asking import Hearing, ask
from posthorn_mailer.adapters.smtp.capabilities import Capabilities, parse_capabilities
from posthorn_mailer.adapters.smtp.connecting import TlsContexts, connect_socket
from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.failures import Ended, what_happened
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.adapters.smtp.signing_in import sign_in
from posthorn_mailer.domain.relays import Relay, TlsMode
from posthorn_mailer.domain.replies import Stage, unanswered

log = structlog.get_logger(__name__)

_READY = 220

Password = Callable[[Relay], Awaitable[str | None]]
"""Opens the relay's sealed password; asked only when a connection needs it."""


@dataclass(frozen=True, slots=True)
class Dialling:
    """What opening connections needs besides the relay."""

    password: Password
    contexts: TlsContexts
    ehlo_name: str
    allow_internal: bool


async def open_connection(relay: Relay, dialling: Dialling, timeouts: SmtpTimeouts) -> SmtpConnection:
    """Return a connection that is ready for messages. Raises Ended, with the stage that failed."""
    protocol = SmtpProtocol(asyncio.get_running_loop())
    try:
        opening = _Opening(protocol, relay, dialling, timeouts)
        capabilities = await opening.connect()
        if relay.tls is TlsMode.STARTTLS:
            capabilities = await opening.start_tls(capabilities)
        if relay.username is not None:
            await sign_in(protocol, capabilities.auth, relay.username, opening.password, timeouts.auth)
    except BaseException:
        protocol.abort()
        raise
    return SmtpConnection(protocol, capabilities, timeouts)


class _Opening:
    def __init__(self, protocol: SmtpProtocol, relay: Relay, dialling: Dialling, timeouts: SmtpTimeouts) -> None:
        self._protocol = protocol
        self._relay = relay
        self._dialling = dialling
        self._timeouts = timeouts

    async def connect(self) -> Capabilities:
        """Connect and greet, over TLS from the first byte where the relay wants that."""
        relay, timeouts, loop = self._relay, self._timeouts, self._protocol.loop
        context = await self._dialling.contexts.context(relay) if relay.tls is TlsMode.IMPLICIT else None
        try:
            connection = await connect_socket(
                relay.host, relay.port, timeout_seconds=timeouts.connect, allow_internal=self._dialling.allow_internal
            )
        except (OSError, UnicodeError) as error:
            raise Ended(unanswered(Stage.CONNECT, what_happened(error))) from error
        # The greeting may come before the loop tells us that we are connected.
        greeting = Hearing(self._protocol, Stage.CONNECT, timeouts.greeting)
        try:
            async with asyncio.timeout(timeouts.tls):
                await loop.create_connection(
                    lambda: self._protocol,
                    sock=connection,
                    ssl=context,
                    server_hostname=None if context is None else relay.host,
                )
        except OSError as error:
            stage = Stage.CONNECT if context is None else Stage.TLS
            raise Ended(unanswered(stage, what_happened(error))) from error
        finally:
            if not self._protocol.connected:
                connection.close()
        reply = await greeting.reply()
        if reply.code != _READY:
            raise Ended(reply.attempt)
        return await self._greet(Stage.CONNECT)

    async def start_tls(self, capabilities: Capabilities) -> Capabilities:
        """Encrypt, and greet again: what was said before may have been anybody's."""
        if not capabilities.starttls:
            # Whoever sits in between may have taken the offer away: nothing is said in clear text.
            raise Ended(unanswered(Stage.TLS, "The relay does not offer STARTTLS"))
        context = await self._dialling.contexts.context(self._relay)
        (await ask(self._protocol, Stage.TLS, b"STARTTLS\r\n", self._timeouts.tls)).expect(2)
        if self._protocol.closed:
            # Words slipped in behind the relay's, to be taken for its own once there is encryption.
            raise Ended(unanswered(Stage.TLS, self._protocol.reason))
        try:
            await self._encrypt(context)
        except OSError as error:
            raise Ended(unanswered(Stage.TLS, what_happened(error))) from error
        return await self._greet(Stage.TLS)

    async def password(self) -> str:
        """Return the relay's password. Raises Ended."""
        try:
            return await self._dialling.password(self._relay) or ""
        except Exception as error:  # whatever it is, the message can wait until it is over
            log.exception("relay_password_unreadable", relay_id=str(self._relay.id))
            raise Ended(unanswered(Stage.AUTH, "The relay's password cannot be read")) from error

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        protocol = self._protocol
        async with asyncio.timeout(self._timeouts.tls):
            transport = await protocol.loop.start_tls(
                protocol.transport, protocol, context, server_hostname=self._relay.host
            )
        if transport is None:
            raise ConnectionResetError
        protocol.upgraded(transport)

    async def _greet(self, stage: Stage) -> Capabilities:
        name, seconds = self._dialling.ehlo_name.encode(), self._timeouts.greeting
        reply = await ask(self._protocol, stage, b"EHLO %s\r\n" % name, seconds)
        if reply.code >= 500:
            (await ask(self._protocol, stage, b"HELO %s\r\n" % name, seconds)).expect(2)
            return Capabilities()
        return parse_capabilities(reply.expect(2).text)
