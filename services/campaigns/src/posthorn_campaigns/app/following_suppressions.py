"""What the mailer tells about its suppression list. Contacts show it, and audiences leave them out."""

from __future__ import annotations

from datetime import timedelta

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_suppressions import SuppressionSource
from posthorn_common.clock import Clock
from posthorn_contracts.mailer.v1 import SuppressionsChanged

# Longer than an event waits to be handled.
_KEEP_LIFTED = timedelta(days=31)


class FollowingSuppressions:
    """The use cases of the mailer's suppression list."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, source: SuppressionSource, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._source = source
        self._clock = clock

    async def on_suppressions_changed(self, event: SuppressionsChanged) -> None:
        """Take over how the addresses are by now; events carry none. In any order, and also twice."""
        told = await self._source.changed_suppressions(event.data.change_id)
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(event):
                await uow.erasures.share(event.organisation_id)
                await uow.suppressions.take(event.organisation_id, told, self._clock.now())

    async def purge(self) -> int:
        """Drop what is left of suppressions that were lifted long ago."""
        async with self._new_unit_of_work() as uow:
            return await uow.suppressions.purge(_KEEP_LIFTED)
