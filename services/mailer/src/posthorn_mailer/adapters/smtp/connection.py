"""One SMTP connection: opened, used for message after message, closed."""

from __future__ import annotations

import asyncio

from posthorn_mailer.adapters.smtp.asking import ask
from posthorn_mailer.adapters.smtp.capabilities import Capabilities
from posthorn_mailer.adapters.smtp.failures import Ended
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.adapters.smtp.transaction import Transaction
from posthorn_mailer.app.ports_transport import MayGo, OutgoingMessage, Withdrawn
from posthorn_mailer.domain.replies import Attempt, Stage


class SmtpConnection:
    """A connection that is ready for the next message, until `usable` is false."""

    __slots__ = ("_capabilities", "_protocol", "_timeouts", "messages", "used_at")

    def __init__(self, protocol: SmtpProtocol, capabilities: Capabilities, timeouts: SmtpTimeouts) -> None:
        self._protocol = protocol
        self._capabilities = capabilities
        self._timeouts = timeouts
        self.messages = 0
        self.used_at = protocol.loop.time()

    @property
    def usable(self) -> bool:
        """Whether another message can be handed over."""
        return not self._protocol.closed

    @property
    def lost(self) -> bool:
        """Whether the relay, or the network, has closed it."""
        return self._protocol.lost

    async def deliver(self, message: OutgoingMessage, may_go: MayGo) -> Attempt:
        """Hand over one message. Raises Withdrawn. Cancelling it breaks the connection."""
        if not may_go():
            raise Withdrawn
        self.messages += 1
        try:
            transaction = Transaction(self._protocol, self._capabilities, self._timeouts, message, may_go)
            transaction.begin()
            return await transaction.done
        except Ended as end:
            return end.attempt
        except BaseException:
            self.abort()
            raise
        finally:
            self.used_at = self._protocol.loop.time()

    async def noop(self) -> Attempt:
        """Ask for a sign of life. Raises Ended if there is none."""
        reply = await ask(self._protocol, Stage.MAIL, b"NOOP\r\n", self._timeouts.mail)
        return reply.expect(2).attempt

    def abort(self) -> None:
        """Close at once, without a word."""
        self._protocol.abort()

    def quit(self) -> asyncio.Future[None]:
        """Say QUIT; the future is done when the connection is closed, for which nobody need wait."""
        return self._protocol.quit(self._timeouts.quit)
