"""Opening a connection: connect, greet, encrypt, sign in."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiosmtplib
import structlog
from aiosmtplib import SMTPHeloError

from posthorn_mailer.adapters.smtp.connecting import TlsContexts, connect_socket
from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.failures import FAILURES, Ended, attempt_of
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.domain.relays import Relay, TlsMode
from posthorn_mailer.domain.replies import Stage, unanswered

log = structlog.get_logger(__name__)

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
    client = aiosmtplib.SMTP(local_hostname=dialling.ehlo_name)
    try:
        await _connect(client, relay, dialling, timeouts)
        if relay.tls is TlsMode.STARTTLS:
            await _start_tls(client, await dialling.contexts.context(relay), timeouts)
        if relay.username is not None:
            await _sign_in(client, relay, relay.username, dialling, timeouts)
    except BaseException:
        client.close()
        raise
    return SmtpConnection(client, timeouts)


async def _connect(client: aiosmtplib.SMTP, relay: Relay, dialling: Dialling, timeouts: SmtpTimeouts) -> None:
    implicit = relay.tls is TlsMode.IMPLICIT
    context = await dialling.contexts.context(relay) if implicit else None
    try:
        connection = await connect_socket(
            relay.host, relay.port, timeout_seconds=timeouts.connect, allow_internal=dialling.allow_internal
        )
        try:
            await client.connect(
                sock=connection,
                hostname=relay.host,
                use_tls=implicit,
                start_tls=False,
                tls_context=context,
                timeout=timeouts.greeting,
            )
        except BaseException:
            connection.close()
            raise
        await _greet(client, timeouts)
    except FAILURES as error:
        over_tls = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)
        raise Ended(attempt_of(Stage.TLS if over_tls else Stage.CONNECT, error)) from error


async def _greet(client: aiosmtplib.SMTP, timeouts: SmtpTimeouts) -> None:
    try:
        await client.ehlo(timeout=timeouts.greeting)
    except SMTPHeloError as error:
        if error.code < 500 or not client.is_connected:
            raise
        await client.helo(timeout=timeouts.greeting)


async def _start_tls(client: aiosmtplib.SMTP, context: ssl.SSLContext, timeouts: SmtpTimeouts) -> None:
    if not client.supports_extension("starttls"):
        # Whoever sits in between may have taken the offer away: nothing is said in clear text.
        raise Ended(unanswered(Stage.TLS, "The relay does not offer STARTTLS"))
    try:
        await client.starttls(tls_context=context, timeout=timeouts.tls)
        await _greet(client, timeouts)
    except FAILURES as error:
        raise Ended(attempt_of(Stage.TLS, error)) from error


async def _sign_in(
    client: aiosmtplib.SMTP, relay: Relay, username: str, dialling: Dialling, timeouts: SmtpTimeouts
) -> None:
    offered = client.server_auth_methods
    ways = {"plain": client.auth_plain, "login": client.auth_login}
    way = next((ways[name] for name in ways if name in offered), None)
    if way is None:
        raise Ended(unanswered(Stage.AUTH, "The relay offers neither AUTH PLAIN nor AUTH LOGIN"))
    try:
        password = await dialling.password(relay)
    except Exception as error:  # whatever it is, the message can wait until it is over
        log.exception("relay_password_unreadable", relay_id=str(relay.id))
        raise Ended(unanswered(Stage.AUTH, "The relay's password cannot be read")) from error
    try:
        await way(username, password or "", timeout=timeouts.auth)
    except FAILURES as error:
        raise Ended(attempt_of(Stage.AUTH, error)) from error
