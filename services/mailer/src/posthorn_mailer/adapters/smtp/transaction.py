"""One message on its way through a connection, from MAIL to the reply after its end."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from posthorn_mailer.adapters.smtp.capabilities import Capabilities
from posthorn_mailer.adapters.smtp.content import BareLineBreak, dot_stuffed, last_chunk
from posthorn_mailer.adapters.smtp.envelope import envelope
from posthorn_mailer.adapters.smtp.failures import TOO_MUCH, Ended, not_smtp
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.app.ports_transport import MayGo, OutgoingMessage, Withdrawn
from posthorn_mailer.domain.replies import Attempt, Stage, replied, unanswered

_DATA = b"DATA\r\n"
_GOING_AWAY = 421


class _Step(Enum):
    """What the next reply answers."""

    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    """The content has begun to leave: from here on silence tells nothing."""
    DOT = auto()
    """A lone dot, in answer to a 354 after every recipient was refused (RFC 2920 §3.1)."""
    RSET = auto()


_AT_MAIL, _AT_RCPT, _AT_DATA, _AT_CONTENT, _AT_DOT = _Step.MAIL, _Step.RCPT, _Step.DATA, _Step.CONTENT, _Step.DOT
_STAGES = {_AT_MAIL: Stage.MAIL, _AT_RCPT: Stage.RCPT, _AT_DATA: Stage.DATA}


class Transaction:
    """A listener that hands over one message; `done` gets the attempt, or Withdrawn.

    It acts within the loop's callbacks, so that a message wakes its sender once. Content leaves only when MAIL and RCPT
    were accepted and, unless it goes as a chunk, DATA was answered 354.
    """

    __slots__ = (
        "_ahead", "_chunked", "_content", "_first", "_may_go", "_opened", "_protocol", "_rcpt", "_recipient_held",
        "_refusal", "_step", "_timeouts", "done",
    )  # fmt: skip

    def __init__(
        self,
        protocol: SmtpProtocol,
        capabilities: Capabilities,
        timeouts: SmtpTimeouts,
        message: OutgoingMessage,
        may_go: MayGo,
    ) -> None:
        """Prepare all that will be said. Raises Ended where the relay cannot be given this message."""
        mail, self._rcpt = envelope(message, capabilities)
        self._chunked = capabilities.chunking
        try:
            cut = last_chunk if self._chunked else dot_stuffed
            self._content = cut(message.content, wire_ready=message.wire_ready)
        except BareLineBreak as error:
            raise Ended(replied(Stage.MAIL, 554, "5.6.0 Not sent: the message has bare line breaks")) from error
        if not capabilities.pipelining:
            self._first, self._ahead = mail, 0
        elif self._chunked:  # the chunk waits until the recipient is accepted, or its loss would leave us in doubt
            self._first, self._ahead = mail + self._rcpt, 1
        else:
            self._first, self._ahead = b"".join((mail, self._rcpt, _DATA)), 2
        self._protocol = protocol
        self._timeouts = timeouts
        self._may_go = may_go
        self._step = _AT_MAIL
        self._refusal: Attempt | None = None
        self._opened = False  # the relay holds something of ours that RSET would clear
        self._recipient_held = False
        self.done: asyncio.Future[Attempt] = protocol.loop.create_future()

    def begin(self) -> None:
        """Say the first words."""
        if self._protocol.closed:
            self.failed(self._protocol.reason)
            return
        self._protocol.write(self._first)
        self._protocol.listen(self, self._timeouts.mail)

    def replied(self, code: int, text: bytes) -> None:
        """See Listener."""
        step = self._step
        if not 200 <= code < 600:
            self._end(unanswered(self._stage, not_smtp(f"{code} {_decoded(text)}")), close=True)
        elif step is _AT_CONTENT:
            self._on_content(code, text)
        elif step is _AT_MAIL or step is _AT_RCPT:
            self._on_envelope(code, text)
        elif step is _AT_DATA:
            self._on_data(code, text)
        elif step is _AT_DOT:
            self._end(close=code < 400 or code == _GOING_AWAY)
        else:
            self._end(close=code >= 300)

    def failed(self, reason: str) -> None:
        """See Listener."""
        self._end(unanswered(self._stage, reason))

    @property
    def _stage(self) -> Stage:
        return _STAGES.get(self._step, Stage.CONTENT)

    def _on_envelope(self, code: int, text: bytes) -> None:
        at_mail = self._step is _AT_MAIL
        if code < 300:
            self._opened = True
            self._recipient_held = not at_mail
        elif self._refused(code, text):
            return
        if at_mail:
            self._go_on(_AT_RCPT, self._rcpt, self._timeouts.rcpt)
        elif self._chunked:
            self._send_content()
        else:
            self._go_on(_AT_DATA, _DATA, self._timeouts.data)

    def _on_data(self, code: int, text: bytes) -> None:
        if code // 100 != 3:
            if not self._refused(code, text):
                self._clean_up()
        elif self._refusal is None:
            self._send_content()
        elif self._recipient_held:  # a dot would send it an empty message
            self._end(close=True)
        else:
            self._go_on(_AT_DOT, b".\r\n", self._timeouts.content)

    def _on_content(self, code: int, text: bytes) -> None:
        attempt = replied(Stage.CONTENT, code, _decoded(text))
        # A relay that answers before it has heard us out might take the rest of the content for commands, and one that
        # does not know BDAT has.
        if (
            300 <= code < 400
            or code == _GOING_AWAY
            or self._protocol.has_unsent
            or (self._chunked and 500 <= code < 505)
        ):
            self._end(attempt, close=True)
        elif code >= 400 and self._chunked:
            self._refusal = attempt
            self._clean_up()
        else:
            self._end(attempt)

    def _go_on(self, step: _Step, words: bytes, seconds: float) -> None:
        """Wait for the reply of a step, having said its words unless they were said already."""
        if self._ahead:
            self._ahead -= 1
        elif self._refusal is not None and step is not _AT_DOT:
            self._clean_up()
            return
        elif self._protocol.has_surplus:
            self._end(unanswered(_STAGES.get(step, Stage.DATA), TOO_MUCH), close=True)
            return
        else:
            self._protocol.write(words)
        self._step = step
        self._protocol.wait(seconds)

    def _send_content(self) -> None:
        if self._refusal is not None:
            self._clean_up()
        elif self._protocol.has_surplus:
            self._end(unanswered(Stage.DATA, TOO_MUCH), close=True)
        elif not self._may_go():
            self._protocol.abort()  # the relay waits for content, and nothing else can follow
            if not self.done.done():
                self.done.set_exception(Withdrawn())
        else:
            self._step = _AT_CONTENT
            self._protocol.write_all(self._content)
            self._protocol.wait(self._timeouts.content)

    def _refused(self, code: int, text: bytes) -> bool:
        """Note a refusal, the first one; return whether that was the end of the connection."""
        if self._refusal is None:
            self._refusal = replied(self._stage, code, _decoded(text))
        if 400 <= code != _GOING_AWAY:
            return False
        self._end(close=True)  # it goes away, or it says yes to something that we have not asked
        return True

    def _clean_up(self) -> None:
        """Make the connection fit for the next message."""
        if not self._opened:
            self._end()
        elif self._protocol.has_surplus:
            self._end(close=True)
        else:
            self._step = _Step.RSET
            self._protocol.write(b"RSET\r\n")
            self._protocol.wait(self._timeouts.reset)

    def _end(self, attempt: Attempt | None = None, *, close: bool = False) -> None:
        """Tell how it ended; a refusal that came before counts."""
        if close:
            self._protocol.abort()
        else:
            self._protocol.hush()
        ended = self._refusal or attempt
        if ended is not None and not self.done.done():
            self.done.set_result(ended)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
