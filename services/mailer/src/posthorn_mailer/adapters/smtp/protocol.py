"""The wire to one relay: bytes out, replies in, and one clock over both."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Protocol, cast

from posthorn_mailer.adapters.smtp.failures import LOST, NO_REPLY, TOO_MUCH, not_smtp
from posthorn_mailer.adapters.smtp.parser import NotSmtp, ReplyParser

_LONGEST_NAP_SECONDS = 30.0


class Listener(Protocol):
    """Whoever waits for replies."""

    def replied(self, code: int, text: bytes) -> None:
        """Take a reply. Afterwards the listener waits for the next one, unless it has called `hush`."""
        ...

    def failed(self, reason: str) -> None:
        """Take the end of the connection, which comes instead of a reply."""
        ...


class SmtpProtocol(asyncio.Protocol):
    """Passes each reply to the listener; whatever comes unasked, too late or garbled ends the connection.

    One timer per connection serves all time-outs. It is set anew only when it must fire earlier than it would, and
    otherwise naps until it is needed: a message costs no timer of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.closed = False
        self.lost = False
        """Whether it was the relay, or the network, that closed."""
        self.reason = LOST
        """Why it is closed, in words."""
        self._transport: asyncio.Transport | None = None
        self._parser = ReplyParser()
        self._listener: Listener | None = None
        self._seconds = 0.0
        self._deadline = math.inf
        self._fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None

    # What the owner calls.

    @property
    def connected(self) -> bool:
        """Whether it ever was connected."""
        return self._transport is not None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below. Raises ConnectionError where there never was one."""
        if self._transport is None:
            raise ConnectionError
        return self._transport

    @property
    def has_surplus(self) -> bool:
        """Whether the relay has said more than the replies given out."""
        return self._parser.has_input

    @property
    def has_unsent(self) -> bool:
        """Whether something that was written has not left yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def upgraded(self, transport: asyncio.Transport) -> None:
        """Go on over this transport, which encrypts."""
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def write_all(self, parts: Iterable[bytes]) -> None:
        """Send several pieces at once, without joining them where the loop can do without."""
        if self._transport is not None and not self.closed:
            self._transport.writelines(parts)

    def listen(self, listener: Listener, seconds: float) -> None:
        """Give replies to this listener; the first is due within `seconds`."""
        self._listener = listener
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Expect the next reply within `seconds` from now."""
        self._seconds = seconds
        now = self.loop.time()
        self._deadline = deadline = now + seconds
        if deadline < self._fires_at:
            self._set_timer(min(deadline, now + _LONGEST_NAP_SECONDS))

    def hush(self) -> None:
        """Expect nothing more."""
        self._listener = None

    def abort(self, reason: str = LOST) -> None:
        """Close at once, without a word, and without telling the listener."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        self._listener = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def quit(self, seconds: float) -> asyncio.Future[None]:
        """Say QUIT, and close at the reply or after `seconds`; the future is done when that has happened."""
        self._gone = self.loop.create_future()
        if self.closed:
            self._gone.set_result(None)
        else:
            self.write(b"QUIT\r\n")
            self.listen(_Farewell(self), seconds)
        return self._gone

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give out what has become whole."""
        if self.closed:
            return
        parser = self._parser
        parser.feed(data)
        try:
            while (listener := self._listener) is not None:
                reply = parser.next_reply()
                if reply is None:
                    return
                listener.replied(*reply)
        except NotSmtp as error:
            self._fail(not_smtp(error))
            return
        if parser.has_input:
            self.abort(TOO_MUCH)

    def eof_received(self) -> None:
        """The relay has closed its side."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the shape of asyncio.Protocol
        """The connection is gone."""
        if not self.closed:
            self.lost = True
            self._fail(LOST)

    def resume_writing(self) -> None:
        """What was written has left, so that the relay's time to answer begins now."""
        if self._listener is not None:
            self.wait(self._seconds)

    def _fail(self, reason: str) -> None:
        listener = self._listener
        self.abort(reason)
        if listener is not None:
            listener.failed(reason)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = when
        self._timer = self.loop.call_at(when, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        self._fires_at = math.inf
        if self._listener is None:
            return
        now = self.loop.time()
        if now >= self._deadline:
            self._fail(NO_REPLY)
        else:
            self._set_timer(min(self._deadline, now + _LONGEST_NAP_SECONDS))


class _Farewell:
    """Waits for the relay's good-bye, whatever it is."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: SmtpProtocol) -> None:
        self._protocol = protocol

    def replied(self, code: int, text: bytes) -> None:  # noqa: ARG002  the shape of Listener
        """Close."""
        self._protocol.abort()

    def failed(self, reason: str) -> None:
        """Nothing is left to do."""
