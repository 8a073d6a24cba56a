"""What invitations, and mail about accounts, need from outside."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn_auth.domain.invitations import Invitation
from posthorn_auth.domain.mails import AccountMail, MailPurpose, NewMail


class Mails(Protocol):
    """Stored mail about accounts, and the tokens in it. All times are the database's."""

    async def add(self, mail: NewMail) -> None:
        """Have a mail sent after the commit. A reset that waits already for the same address is not added again."""
        ...

    async def claim(self, limit: int, lease_seconds: float) -> list[AccountMail]:
        """Return mails that are due, kept from others for a while."""
        ...

    async def assign(self, mail_id: UUID, organisation_id: UUID, user_id: UUID) -> None:
        """Say whose mail it is, now that it is known."""
        ...

    async def has_fresh(self, user_id: UUID, purpose: MailPurpose) -> bool:
        """Whether a mail of the kind is on its way to the user, or was sent with a link that works for long enough."""
        ...

    async def handed_over(self, mail_id: UUID) -> None:
        """The mailer has taken the mail: its link works from now on for its lifetime."""
        ...

    async def postpone(self, mail_id: UUID, seconds: float) -> None: ...
    async def drop(self, mail_id: UUID) -> None: ...
    async def find(self, token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> AccountMail | None:
        """Return the mail whose token this is, if it can still be used."""
        ...

    async def use(self, token_hash: bytes, purposes: tuple[MailPurpose, ...]) -> AccountMail | None:
        """As `find`, and make the token void: exactly one of several callers gets it."""
        ...

    async def void_of_user(self, user_id: UUID, purpose: MailPurpose) -> None:
        """Make all tokens of the kind void that the user has, and send none that wait."""
        ...

    async def void_of_invitation(self, invitation_id: UUID) -> None: ...
    async def seconds_since_last(self, invitation_id: UUID) -> float | None:
        """Return how long ago a mail of the invitation was added."""
        ...

    async def sent_to_strangers(self, organisation_id: UUID) -> int:
        """Return how many mails went to addresses that nobody had confirmed, within a day."""
        ...

    async def give_up(self) -> int:
        """Let nobody look any more at mails that the mailer has not taken in their time; return how many."""
        ...

    async def delete_old(self) -> int: ...


class Invitations(Protocol):
    """Stored invitations. All times are the database's."""

    async def add(self, invitation_id: UUID, organisation_id: UUID, email: str, role: str, by: UUID) -> Invitation:
        """Raises InvitationExists if one for the address is open."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Invitation]:
        """Return those that are open or have expired."""
        ...

    async def lock(self, organisation_id: UUID, invitation_id: UUID) -> Invitation:
        """Return one that is neither accepted nor revoked. Raises InvitationNotFound."""
        ...

    async def extend(self, invitation_id: UUID) -> Invitation: ...
    async def accept(self, invitation_id: UUID) -> Invitation | None:
        """Mark an open invitation as accepted; None if it is not open any more."""
        ...

    async def revoke(self, invitation_id: UUID) -> None: ...
    async def delete_old(self) -> int: ...


class AccountMailer(Protocol):
    """Hands mail to the mailer service."""

    async def send(self, organisation_id: UUID, mail_id: UUID, to_email: str, subject: str, text: str) -> None:
        """Hand a mail over; idempotent by its id.

        Raises MailNotTaken when there is no relay to send it by, or TransientError when the mailer is away.
        """
        ...
