"""What can be wrong, each with a stable code.

MailerError
├── NotFound                 RelayNotFound, SuppressionNotFound, MessageNotFound, SendNotFound, DeliveryNotFound
├── Conflict                 RelayExists, RelayInUse, StaleRelay, InvalidTransition, DeliveryNotAmbiguous,
│                            SendNotRunning
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


class SendNotFound(NotFound):
    """The campaign has not been started."""

    code, noun = "send_not_found", "send"


class DeliveryNotFound(NotFound):
    """The contact is no recipient of the campaign."""

    code, noun = "delivery_not_found", "delivery"


class InvalidTransition(Conflict):
    """The state machine has no such step."""

    code = "invalid_transition"

    def __init__(self, kind: str, current: str, requested: str) -> None:
        super().__init__(f"A {kind} that is {current} cannot become {requested}.")


class DeliveryNotAmbiguous(Conflict):
    """Only a delivery in doubt is a person's to decide."""

    code = "delivery_not_ambiguous"

    def __init__(self, current: str) -> None:
        super().__init__(f"The delivery is {current}: there is no doubt to be resolved.")


class SendNotRunning(Conflict):
    """Nothing can be sent for a campaign that is cancelled or has failed."""

    code = "send_not_running"

    def __init__(self, status: str) -> None:
        super().__init__(f"The campaign is {status}: nothing of it can be sent again.")
