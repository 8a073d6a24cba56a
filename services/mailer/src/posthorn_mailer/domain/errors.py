"""What can be wrong, each with a stable code.

MailerError
├── NotFound                 RelayNotFound, SuppressionNotFound, MessageNotFound
├── Conflict                 RelayExists, RelayInUse, StaleRelay
└── Invalid                  NoRelay, NoSender, RelayHostNotAllowed
"""

from __future__ import annotations

from typing import ClassVar


class MailerError(Exception):
    """A rule of the mailer service says no."""

    code: ClassVar[str] = "mailer_error"


class NotFound(MailerError):
    """There is no such thing in the caller's organisation."""

    noun: ClassVar[str] = "thing"

    def __init__(self) -> None:
        super().__init__(f"There is no such {self.noun}.")


class Conflict(MailerError):
    """The state of things does not allow it."""


class Invalid(MailerError):
    """The request cannot be met as it is."""


class RelayNotFound(NotFound):
    """There is no such relay."""

    code, noun = "relay_not_found", "relay"


class SuppressionNotFound(NotFound):
    """The address is not suppressed."""

    code, noun = "suppression_not_found", "suppression"


class MessageNotFound(NotFound):
    """There is no such message."""

    code, noun = "message_not_found", "message"
