"""One SMTP connection: opened, used for message after message, closed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import NoReturn

import aiosmtplib
from aiosmtplib import SMTPServerDisconnected

from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.adapters.smtp.failures import FAILURES, Ended, what_happened
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.app.ports_transport import MayGo, OutgoingMessage, Withdrawn
from posthorn_mailer.domain.replies import Attempt, Stage, replied, unanswered

# What must never get into a command, whatever let it through before.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f<>,;\u2028\u2029\ud800-\udfff]")


class SmtpConnection:
    """A connection that is ready for the next message, until `usable` is false."""

    def __init__(self, client: aiosmtplib.SMTP, timeouts: SmtpTimeouts) -> None:
        self._client = client
        self._timeouts = timeouts
        self._broken = False
        self.lost = False
        self.messages = 0
        self.used_at = time.monotonic()

    @property
    def usable(self) -> bool:
        """Whether another message can be handed over."""
        return not self._broken and self._client.is_connected

    async def deliver(self, message: OutgoingMessage, may_go: MayGo) -> Attempt:
        """Hand over one message. Raises nothing but Withdrawn, and CancelledError, which breaks the connection."""
        if not may_go():
            raise Withdrawn
        self.messages += 1
        try:
            return await self._deliver(message, may_go)
        except Ended as end:
            if self.usable and end.attempt.stage in (Stage.RCPT, Stage.DATA):
                await self._reset()
            return end.attempt
        except BaseException:
            self.abort()
            raise
        finally:
            self.used_at = time.monotonic()

    async def noop(self) -> Attempt:
        """Ask for a sign of life. Raises Ended."""
        return await self._command(Stage.MAIL, b"NOOP", seconds=self._timeouts.mail)

    def abort(self) -> None:
        """Close at once, without a word."""
        self._broken = True
        self._client.close()

    async def close(self) -> None:
        """Say QUIT, and close. A relay that does not answer is not waited for long."""
        if self.usable:
            with contextlib.suppress(*FAILURES):
                await self._client.execute_command(b"QUIT", timeout=self._timeouts.quit)
        self.abort()

    async def _deliver(self, message: OutgoingMessage, may_go: MayGo) -> Attempt:
        timeouts = self._timeouts
        mail, rcpt = self._envelope(message)
        content = _stuffed(message.content)
        await self._command(Stage.MAIL, mail, seconds=timeouts.mail)
        await self._command(Stage.RCPT, rcpt, seconds=timeouts.rcpt)
        await self._command(Stage.DATA, b"DATA", seconds=timeouts.data, expected=3)
        protocol = self._client.protocol
        if not may_go():
            raise Withdrawn  # which breaks the connection: the relay waits for content, and nothing else can follow
        try:
            if protocol is None:
                raise SMTPServerDisconnected("lost")
            protocol.write(content)
        except FAILURES as error:
            self._fail(Stage.DATA, error)  # nothing of the content has left us
        try:
            code, text = await protocol.read_response(timeout=timeouts.content)
        except FAILURES as error:
            self._fail(Stage.CONTENT, error)
        attempt = self._checked(Stage.CONTENT, code, text, expected=2)
        if protocol.transport is not None and self._has_unsent(protocol.transport):
            self.abort()
        return attempt

    async def _command(self, stage: Stage, command: bytes, *, seconds: float, expected: int = 2) -> Attempt:
        try:
            code, text = await self._client.execute_command(command, timeout=seconds)
        except FAILURES as error:
            self._fail(stage, error)
        attempt = self._checked(stage, code, text, expected=expected)
        if code // 100 != expected:
            raise Ended(attempt)
        return attempt

    def _checked(self, stage: Stage, code: int, text: str, *, expected: int) -> Attempt:
        """Return the reply, having made sure that the next one will be the next command's."""
        if not 200 <= code < 600:
            self.abort()
            return unanswered(stage, f"The reply is not SMTP: {code} {text}")
        if code == 421 or (code < 400 and code // 100 != expected) or self._has_surplus():
            self.abort()
        return replied(stage, code, text)

    def _has_surplus(self) -> bool:
        protocol = self._client.protocol
        # aiosmtplib keeps what came after the reply and would take it for the reply to the next command.
        return protocol is None or bool(protocol._buffer)  # noqa: SLF001

    @staticmethod
    def _has_unsent(transport: asyncio.BaseTransport) -> bool:
        # A relay that answers before it has heard us out might take the rest of the content for commands.
        return isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size() > 0

    def _fail(self, stage: Stage, error: Exception) -> NoReturn:
        self.abort()
        self.lost = not isinstance(error, TimeoutError)
        raise Ended(unanswered(stage, what_happened(error))) from error

    async def _reset(self) -> None:
        with contextlib.suppress(Ended):
            await self._command(Stage.MAIL, b"RSET", seconds=self._timeouts.reset)
            return
        self.abort()

    def _envelope(self, message: OutgoingMessage) -> tuple[bytes, bytes]:
        """Return the MAIL and RCPT commands. Raises Ended where the relay cannot be given this message."""
        extensions = self._client.esmtp_extensions
        sender, recipient = message.envelope_from, message.envelope_to
        if _UNSAFE.search(sender):
            raise Ended(replied(Stage.MAIL, 553, "5.1.7 Not sent: the sender address is not valid"))
        if _UNSAFE.search(recipient):
            raise Ended(replied(Stage.RCPT, 553, "5.1.3 Not sent: the recipient address is not valid"))
        options = b""
        if not (sender.isascii() and recipient.isascii()):
            sender, recipient = ascii_form(sender), ascii_form(recipient)
            if not (sender.isascii() and recipient.isascii()):
                if "smtputf8" not in extensions:
                    raise Ended(replied(Stage.RCPT, 553, "5.6.7 Not sent: the relay does not take such addresses"))
                options = b" SMTPUTF8 BODY=8BITMIME"
        if not options and not message.content.isascii():
            if "8bitmime" not in extensions:
                raise Ended(replied(Stage.MAIL, 554, "5.6.3 Not sent: the relay takes 7-bit messages only"))
            options = b" BODY=8BITMIME"
        if "size" in extensions:
            options += b" SIZE=%d" % len(message.content)
        return b"MAIL FROM:<%s>%s" % (sender.encode(), options), b"RCPT TO:<%s>" % recipient.encode()


def _stuffed(content: bytes) -> bytes:
    """Return the content as it goes over the wire, dot-stuffed and with its end (RFC 5321 §4.5.2). Raises Ended.

    A bare line feed would be a line end to some servers and not to others: that is how mail is smuggled.
    """
    if not content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r"):
        raise Ended(replied(Stage.MAIL, 554, "5.6.0 Not sent: the message has bare line breaks"))
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    start = b"." if stuffed.startswith(b".") else b""
    end = b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n"
    return b"".join((start, stuffed, end))
