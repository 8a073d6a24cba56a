"""Relays: the SMTP servers that an organisation sends through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from posthorn_mailer.domain.replies import Attempt, Stage
from posthorn_mailer.domain.warm_up import WarmUp

MAX_CONNECTIONS = 200
# Relays with at least so many connections keep one free for single messages.
_ENOUGH_TO_SPARE_ONE = 5
DEFAULT_CONNECTIONS = 10
MAX_WEIGHT = 1000


class TlsMode(StrEnum):
    """How the connection to a relay is encrypted."""

    NONE = "none"
    """Not at all: for a relay on the same machine or in the same private network."""
    STARTTLS = "starttls"
    """Upgraded before anything else is said; a relay that does not offer it is refused. Port 587 as a rule."""
    IMPLICIT = "implicit"
    """From the first byte (RFC 8314). Port 465 as a rule."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay's settings. Its password is kept apart, sealed, and only the SMTP client ever opens it."""

    id: UUID
    organisation_id: UUID
    name: str
    host: str
    port: int
    tls: TlsMode
    verify_certificate: bool
    username: str | None
    max_connections: int
    messages_per_second: float | None
    from_email: str | None
    is_default: bool
    weight: int
    warm_up: WarmUp | None
    version: int
    created_at: datetime
    updated_at: datetime


class RelayTrouble(StrEnum):
    """Why a relay cannot be used."""

    UNREACHABLE = "unreachable"
    NO_TLS = "no_tls"
    NO_SIGN_IN = "no_sign_in"
    NO_MAIL = "no_mail"

    def sentence(self, subject: str) -> str:
        """Say it of `subject`, for people."""
        return f"{subject} {_TROUBLES[self]}."


_TROUBLES = {
    RelayTrouble.UNREACHABLE: "cannot be reached",
    RelayTrouble.NO_TLS: "cannot be reached over an encrypted connection",
    RelayTrouble.NO_SIGN_IN: "refuses to let us sign in",
    RelayTrouble.NO_MAIL: "takes no mail at present",
}


def trouble_of(attempt: Attempt) -> RelayTrouble:
    """Return what an attempt that failed by the relay's fault says about the relay."""
    if attempt.stage is Stage.CONNECT:
        return RelayTrouble.UNREACHABLE
    if attempt.stage is Stage.TLS:
        return RelayTrouble.NO_TLS
    if attempt.stage is Stage.AUTH or attempt.code in {530, 534, 535, 538}:
        return RelayTrouble.NO_SIGN_IN
    return RelayTrouble.NO_MAIL


class RelayState(StrEnum):
    """What the workers think of a relay."""

    CLOSED = "closed"
    """In use; so is a relay that nobody has tried yet."""
    OPEN = "open"
    """Left alone for a while after failures."""
    HALF_OPEN = "half_open"
    """To be tried with one message, or being tried."""
    UNKNOWN = "unknown"
    """It cannot be found out at present."""


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """The state of a relay, since when, and what went wrong last."""

    state: RelayState
    since: datetime | None = None
    trouble: RelayTrouble | None = None


def for_campaigns(max_connections: int) -> int:
    """Return how many of a relay's connections campaigns may use; if there are enough, one is for single messages."""
    return max_connections - 1 if max_connections >= _ENOUGH_TO_SPARE_ONE else max_connections


def password_purpose(relay_id: UUID) -> str:
    """Return what a relay's password is sealed for: it opens for no other relay."""
    return f"relay-password:{relay_id}"
