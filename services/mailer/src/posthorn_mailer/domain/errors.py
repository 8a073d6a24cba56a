"""What can be wrong, each with a stable code.

MailerError
├── NotFound                 RelayNotFound, SuppressionNotFound, MessageNotFound, SendNotFound, DeliveryNotFound,
│                            DomainNotFound
├── Conflict                 RelayInUse, DefaultRelayNeeded, InvalidTransition, DeliveryNotAmbiguous, SendNotRunning,
│                            DomainExists, TooManyDomains, KeysNotVerified
└── Invalid                  NoRelay, NoSender, InvalidMessage, IdempotencyKeyReused, RelayHostNotAllowed,
                             PasswordNeeded
"""

from __future__ import annotations

from typing import ClassVar


class MailerError(Exception):
    """A rule of the mailer service says no."""

    code: ClassVar[str] = "mailer_error"


class NotFound(MailerError):
    """There is no such thing in the caller's organisation."""

    noun: ClassVar[str] = "thing"
    sentence: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__(self.sentence or f"There is no such {self.noun}.")


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

    code, sentence = "send_not_found", "There are no deliveries of such a campaign. They begin when it starts."


class DeliveryNotFound(NotFound):
    """The contact is no recipient of the campaign."""

    code, noun = "delivery_not_found", "delivery"


class DomainNotFound(NotFound):
    """There is no such sending domain."""

    code, noun = "domain_not_found", "domain"


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


class SendClosed(Conflict):
    """A campaign that has been final for long is closed."""

    code = "send_closed"

    def __init__(self) -> None:
        super().__init__("The campaign is closed: what becomes of its deliveries is settled.")


class RelayInUse(Conflict):
    """A relay stays as long as mail is to go through it."""

    code = "relay_in_use"

    def __init__(self) -> None:
        super().__init__("Campaigns or messages that are not finished go through this relay.")


class DefaultRelayNeeded(Conflict):
    """An organisation with relays has a default one."""

    code = "default_relay_needed"

    def __init__(self) -> None:
        super().__init__("Make another relay the default instead.")


class DomainExists(Conflict):
    """The organisation has this sending domain already."""

    code = "domain_exists"

    def __init__(self) -> None:
        super().__init__("The organisation has this domain already.")


class TooManyDomains(Conflict):
    """An organisation has a limited number of sending domains."""

    code = "too_many_domains"

    def __init__(self, most: int) -> None:
        super().__init__(f"An organisation has at most {most} domains.")


class KeysNotVerified(Conflict):
    """New keys are made when those before them are in use."""

    code = "keys_not_verified"

    def __init__(self) -> None:
        super().__init__("None of the newest keys is in use yet. Publish their records and verify the domain first.")


class RelayHostNotAllowed(Invalid):
    """The relay's host is inside the installation's own network."""

    code = "relay_host_not_allowed"

    def __init__(self) -> None:
        super().__init__("The host leads into a private network, which this installation does not allow.")


class InvalidLimit(Invalid):
    """A limit that could not take effect."""

    code = "invalid_limit"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The limit for {name} cannot be kept: it {problem}.")


class PasswordNeeded(Invalid):
    """A stored password is not sent to another server than the one that it was given for."""

    code = "password_needed"

    def __init__(self) -> None:
        super().__init__("Give the password again when you change where it goes, or how it is protected on the way.")


class NoRelay(Invalid):
    """There is nothing to send through."""

    code = "no_relay"

    def __init__(self) -> None:
        super().__init__("The organisation has no such relay to send through.")


class NoSender(Invalid):
    """Neither the message nor the relay says where it comes from."""

    code = "no_sender"

    def __init__(self) -> None:
        super().__init__("The message has no sender address, and the relay has none of its own.")


class InvalidMessage(Invalid):
    """Something in the message cannot be sent."""

    code = "invalid_message"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}.")


class IdempotencyKeyReused(Invalid):
    """The key belongs to another message."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("The idempotency key was used for a message with other content.")
