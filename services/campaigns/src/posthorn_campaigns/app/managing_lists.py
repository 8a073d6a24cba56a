"""Lists, and who is on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from posthorn_campaigns.app.leaving_lists import tell_left
from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.domain.audience import ContactList
from posthorn_campaigns.domain.errors import ListInUse, ListNotFound
from posthorn_campaigns.domain.opt_in import OptIn
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id


@dataclass(frozen=True, slots=True)
class CountedList:
    """A list and how many contacts are subscribed to it."""

    contact_list: ContactList
    contact_count: int


class ManagingLists:
    """The use cases of lists."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def add(
        self,
        organisation_id: UUID,
        name: str,
        description: str,
        opt_in: OptIn = OptIn.SINGLE,
        *,
        is_public: bool = False,
    ) -> CountedList:
        """Add an empty list."""
        contact_list = ContactList(
            id=new_id(),
            organisation_id=organisation_id,
            name=name,
            description=description,
            created_at=self._clock.now(),
            opt_in=opt_in,
            is_public=is_public,
        )
        async with self._new_unit_of_work() as uow:
            concerns("list", contact_list.id)
            await uow.lists.add(contact_list)
        return CountedList(contact_list, 0)

    async def get(self, organisation_id: UUID, list_id: UUID) -> CountedList:
        """Return a list. Raises ListNotFound."""
        async with self._new_unit_of_work() as uow:
            [counted] = await _counted(uow, [await uow.lists.get(organisation_id, list_id)])
        return counted

    async def find(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[CountedList]:
        """Return lists by id."""
        async with self._new_unit_of_work() as uow:
            return await _counted(uow, await uow.lists.page(organisation_id, after, limit))

    async def change(
        self,
        organisation_id: UUID,
        list_id: UUID,
        *,
        name: str | None,
        description: str | None,
        opt_in: OptIn | None,
        is_public: bool | None,
    ) -> CountedList:
        """Change a list; None leaves a part as it is. Raises ListNotFound."""
        async with self._new_unit_of_work() as uow:
            before = await uow.lists.get(organisation_id, list_id, lock=True)
            changed = replace(
                before,
                name=before.name if name is None else name,
                description=before.description if description is None else description,
                opt_in=before.opt_in if opt_in is None else opt_in,
                is_public=before.is_public if is_public is None else is_public,
            )
            await uow.lists.save(changed)
            [counted] = await _counted(uow, [changed])
        return counted

    async def delete(self, organisation_id: UUID, list_id: UUID) -> None:
        """Delete a list; its contacts stay. Raises ListNotFound, ListInUse."""
        async with self._new_unit_of_work() as uow:
            # In this order: a campaign that is being scheduled holds its lists, and is seen once this got through.
            await uow.lists.delete(organisation_id, list_id)
            if await uow.lists.is_in_use(organisation_id, list_id):
                raise ListInUse

    async def subscribe(self, organisation_id: UUID, list_id: UUID, contact_id: UUID) -> None:
        """Put a contact on a list, also one who has left it. Idempotent. Raises ListNotFound, ContactNotFound."""
        async with self._new_unit_of_work() as uow:
            if await uow.lists.missing(organisation_id, [list_id]):
                raise ListNotFound
            await uow.contacts.get(organisation_id, contact_id, lock=True)
            await uow.contacts.subscribe(organisation_id, [contact_id], [list_id], self._clock.now())

    async def unsubscribe(self, organisation_id: UUID, list_id: UUID, contact_id: UUID) -> None:
        """Take a contact off a list, also for mail that is queued. Idempotent. Raises ListNotFound, ContactNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.lists.get(organisation_id, list_id)
            await uow.contacts.get(organisation_id, contact_id, lock=True)
            left = await uow.contacts.unsubscribe(organisation_id, contact_id, [list_id], self._clock.now())
            if left:
                await tell_left(uow, self._clock, organisation_id, contact_id, left, method="api")

    async def fold_counts(self) -> None:
        """Tidy up what counts are summed from, so that reading them stays cheap. Changes no count."""
        async with self._new_unit_of_work() as uow:
            await uow.lists.fold_counts()


async def _counted(uow: UnitOfWork, lists: Sequence[ContactList]) -> list[CountedList]:
    """Return lists of one organisation with their counts."""
    if not lists:
        return []
    counts = await uow.lists.contact_counts(lists[0].organisation_id, [contact_list.id for contact_list in lists])
    return [CountedList(contact_list, counts.get(contact_list.id, 0)) for contact_list in lists]
