"""What can go wrong with a relay, in words."""

from __future__ import annotations

import socket
import ssl

from posthorn_mailer.adapters.smtp.connecting import AddressNotAllowed
from posthorn_mailer.domain.replies import Attempt

LOST = "The connection was lost"
NO_REPLY = "No reply in time"
TOO_MUCH = "The relay said more than it was asked"


class Ended(Exception):
    """The attempt is over before the content was accepted."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.stage)
        self.attempt = attempt


def what_happened(error: OSError | UnicodeError) -> str:
    """Return the reason in words, without addresses."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the handshake was broken off'}"
    return f"No connection: {getattr(error, 'strerror', None) or type(error).__name__}"


def not_smtp(what: object) -> str:
    """Return the reason where no reply could be understood."""
    return f"The reply is not SMTP: {what}"


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, NO_REPLY),
    (AddressNotAllowed, "The relay's address is in a network that is not allowed"),
    (socket.gaierror, "The relay's name cannot be resolved"),
    (UnicodeError, "The relay's name cannot be resolved"),  # it is no name
    (ConnectionRefusedError, "The connection was refused"),
    (ConnectionError, LOST),
)
