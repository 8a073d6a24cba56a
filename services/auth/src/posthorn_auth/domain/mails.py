"""Mail about accounts, and the links in it: each works once, for a while."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID


class MailPurpose(StrEnum):
    """Why somebody gets mail."""

    VERIFY_EMAIL = "verify_email"
    CHANGE_EMAIL = "change_email"
    """To the new address, with the link that makes it the user's."""
    RESET_PASSWORD = "reset_password"
    INVITATION = "invitation"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"
    TWO_FACTOR_CHANGED = "two_factor_changed"


LIFETIMES: dict[MailPurpose, timedelta] = {
    MailPurpose.VERIFY_EMAIL: timedelta(days=3),
    MailPurpose.CHANGE_EMAIL: timedelta(hours=1),
    MailPurpose.RESET_PASSWORD: timedelta(minutes=30),
    MailPurpose.INVITATION: timedelta(days=7),
}
"""How long the link of a mail works, from when the mailer has taken it. What is not here has no link."""

TO_STRANGERS = (MailPurpose.INVITATION, MailPurpose.CHANGE_EMAIL)
"""Mail to addresses that somebody typed in: an organisation sends so much of it in a day, and no more."""

TRIED_FOR = timedelta(days=1)
"""A mail that the mailer has not taken by then is given up, unless its link would live longer."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to send. A reset of a password is asked for by address: whose it is turns out when it is sent."""

    purpose: MailPurpose
    to_email: str
    organisation_id: UUID | None = None
    user_id: UUID | None = None
    invitation_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AccountMail:
    """A stored mail; its text is made when it is sent, its token follows from its id."""

    id: UUID
    purpose: MailPurpose
    to_email: str
    organisation_id: UUID | None
    user_id: UUID | None
    invitation_id: UUID | None
    attempts: int


def has_link(purpose: MailPurpose) -> bool:
    """Whether mail of this kind carries a token."""
    return purpose in LIFETIMES


def lifetime(purpose: MailPurpose) -> timedelta:
    """Return how long a mail's link works."""
    return LIFETIMES.get(purpose, TRIED_FOR)


def kept_for(purpose: MailPurpose) -> timedelta:
    """Return how long a mail may wait for the mailer."""
    return max(lifetime(purpose), TRIED_FOR)


def mail_token(mail_id: UUID, key: bytes) -> str:
    """Return the token in a mail's link: always the same one, and for nobody to tell who lacks `key`.

    So a mail can be made again after a crash, although only the token's hash is stored.
    """
    return base64.urlsafe_b64encode(hmac.digest(key, mail_id.bytes, "sha256")).decode().rstrip("=")


def pause_seconds(attempts: int) -> float:
    """Return how long to wait after so many attempts in vain."""
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 16), _LONGEST_PAUSE_SECONDS)
