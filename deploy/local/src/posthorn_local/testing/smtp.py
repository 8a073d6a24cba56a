"""A real SMTP server for tests: keeps what it accepts and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as default_policy
from typing import Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from posthorn_local.ports import LOOPBACK, free_ports

Stage = Literal["MAIL", "RCPT", "DATA"]
_MAX_MESSAGE_BYTES = 30 * 1024 * 1024


@dataclass(frozen=True)
class RecordedMessage:
    """One accepted message with its envelope."""

    envelope_from: str
    envelope_to: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The parsed message."""
        return BytesParser(policy=default_policy).parsebytes(self.raw)


@dataclass
class _Reply:
    text: str
    remaining: int | None


class RecordingSmtpServer:
    """An SMTP server on loopback that runs in a thread of its own.

    `messages` grows in order of acceptance. A reply given by `reply_to` is sent instead of accepting.
    """

    def __init__(self) -> None:
        self.host = LOOPBACK
        self.port = free_ports(1)[0]
        self.messages: list[RecordedMessage] = []
        self._replies: dict[tuple[Stage, str], _Reply] = {}
        self._lock = threading.Lock()
        self._controller: Controller | None = None

    def start(self) -> None:
        """Start listening; returns when it does."""
        self._controller = Controller(
            _Handler(self),
            hostname=self.host,
            port=self.port,
            ready_timeout=60,
            enable_SMTPUTF8=True,
            data_size_limit=_MAX_MESSAGE_BYTES,
        )
        self._controller.start()

    def stop(self) -> None:
        """Close the port and all connections, if it is open. `start` opens the same port again."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def reply_to(self, address: str, reply: str, *, at: Stage = "RCPT", times: int | None = None) -> None:
        """Answer `reply`, such as `550 5.1.1 no such user`, where `address` is the recipient (at MAIL: the sender).

        `times` limits how often; afterwards the address is accepted. At DATA the reply comes after the final dot if
        any recipient of the message has one.
        """
        with self._lock:
            self._replies[at, address.casefold()] = _Reply(reply, times)

    def clear(self) -> None:
        """Forget all messages and replies."""
        with self._lock:
            self.messages.clear()
            self._replies.clear()

    def messages_to(self, address: str) -> list[RecordedMessage]:
        """Return the messages that were accepted for a recipient."""
        return [message for message in list(self.messages) if address in message.envelope_to]

    def reply_at(self, stage: Stage, addresses: Sequence[str]) -> str | None:
        """Return the reply that was ordered for one of the addresses, and count it; for the protocol handler."""
        with self._lock:
            for address in addresses:
                key = (stage, address.casefold())
                reply = self._replies.get(key)
                if reply is None:
                    continue
                if reply.remaining is not None:
                    reply.remaining -= 1
                    if reply.remaining <= 0:
                        del self._replies[key]
                return reply.text
        return None


class _Handler:
    """aiosmtpd calls these by name."""

    def __init__(self, server: RecordingSmtpServer) -> None:
        self._server = server

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, mail_options: list[str]
    ) -> str:
        if reply := self._server.reply_at("MAIL", [address]):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if reply := self._server.reply_at("RCPT", [address]):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        recipients = tuple(envelope.rcpt_tos)
        if reply := self._server.reply_at("DATA", recipients):
            return reply
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        self._server.messages.append(RecordedMessage(envelope.mail_from or "", recipients, raw))
        return "250 2.0.0 OK"
