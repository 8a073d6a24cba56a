"""How much mail an organisation sends to addresses that somebody typed in."""

from __future__ import annotations

from uuid import UUID

from posthorn_auth.app.ports import UnitOfWork
from posthorn_auth.domain.errors import TooManyAttempts

_LOOK_AGAIN_SECONDS = 3600


class MailQuota:
    """Keeps whoever registers from using us to write to strangers, through the operator's relay or their own."""

    def __init__(self, per_day: int) -> None:
        self._per_day = per_day

    async def check(self, uow: UnitOfWork, organisation_id: UUID) -> None:
        """Raise TooManyAttempts if the organisation has written to enough strangers today.

        Requests at the same time wait for one another, so that they do not pass together.
        """
        await uow.users.lock_organisation(organisation_id)
        if await uow.mails.sent_to_strangers(organisation_id) >= self._per_day:
            raise TooManyAttempts(_LOOK_AGAIN_SECONDS)
