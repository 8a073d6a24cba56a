"""What can go wrong with a relay, in words."""

from __future__ import annotations

import socket
import ssl

from aiosmtplib import SMTPConnectError, SMTPException, SMTPResponseException, SMTPServerDisconnected

from posthorn_mailer.adapters.smtp.connecting import AddressNotAllowed
from posthorn_mailer.domain.replies import Attempt, Stage, replied, unanswered

FAILURES = (SMTPException, OSError, ValueError)
"""What aiosmtplib and the network raise."""


class Ended(Exception):
    """The attempt is over before the content was accepted."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.stage)
        self.attempt = attempt


def attempt_of(stage: Stage, error: Exception) -> Attempt:
    """Return the attempt that ended with this error: with the relay's reply if there was one."""
    if isinstance(error, SMTPResponseException) and 200 <= error.code < 600:
        return replied(stage, error.code, error.message)
    return unanswered(stage, what_happened(error))


def what_happened(error: BaseException) -> str:
    """Return the reason in words, without addresses."""
    if isinstance(error, SMTPConnectError) and error.__cause__ is not None:
        return what_happened(error.__cause__)
    if isinstance(error, SMTPResponseException):
        return f"The reply is not SMTP: {error.message}"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the handshake was broken off'}"
    if isinstance(error, SMTPServerDisconnected | ConnectionError):
        return "The connection was lost"
    if isinstance(error, OSError):
        return f"No connection: {error.strerror or type(error).__name__}"
    return str(error)


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "No reply in time"),
    (AddressNotAllowed, "The relay's address is in a network that is not allowed"),
    (socket.gaierror, "The relay's name cannot be resolved"),
    (ConnectionRefusedError, "The connection was refused"),
)
