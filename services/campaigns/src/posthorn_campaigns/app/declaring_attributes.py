"""Declaring attributes: what the contacts of an organisation have besides a name."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.attributes import MAX_DECLARATIONS, AttributeDeclaration, AttributeType
from posthorn_campaigns.domain.errors import AttributeInUse, TooManyDeclarations
from posthorn_common.clock import Clock, new_id


class DeclaringAttributes:
    """The use cases of declarations. Contacts that exist are left as they are."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def declare(
        self, organisation_id: UUID, key: str, kind: AttributeType, *, required: bool, description: str
    ) -> AttributeDeclaration:
        """Declare an attribute. Raises AttributeExists, TooManyDeclarations."""
        declaration = AttributeDeclaration(
            id=new_id(),
            organisation_id=organisation_id,
            key=key,
            type=kind,
            required=required,
            description=description,
            created_at=self._clock.now(),
        )
        async with self._new_unit_of_work() as uow:
            if len(await uow.attributes.declared(organisation_id)) >= MAX_DECLARATIONS:
                raise TooManyDeclarations(MAX_DECLARATIONS)
            await uow.attributes.add(declaration)
        return declaration

    async def find(self, organisation_id: UUID) -> list[AttributeDeclaration]:
        """Return all declarations, by key."""
        async with self._new_unit_of_work() as uow:
            return [declaration for _, declaration in sorted((await uow.attributes.declared(organisation_id)).items())]

    async def get(self, organisation_id: UUID, attribute_id: UUID) -> AttributeDeclaration:
        """Raises AttributeNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.attributes.get(organisation_id, attribute_id)

    async def change(
        self, organisation_id: UUID, attribute_id: UUID, *, required: bool | None, description: str | None
    ) -> AttributeDeclaration:
        """Change a declaration; None leaves a part as it is. Raises AttributeNotFound."""
        async with self._new_unit_of_work() as uow:
            before = await uow.attributes.get(organisation_id, attribute_id, lock=True)
            changed = replace(
                before,
                required=before.required if required is None else required,
                description=before.description if description is None else description,
            )
            await uow.attributes.save(changed)
        return changed

    async def withdraw(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Take a declaration back; values that contacts have stay. Raises AttributeNotFound, AttributeInUse."""
        async with self._new_unit_of_work() as uow:
            # Nobody saves a segment meanwhile.
            await uow.segments.lock(organisation_id)
            declaration = await uow.attributes.get(organisation_id, attribute_id)
            if await uow.segments.use_attribute(organisation_id, declaration.key):
                raise AttributeInUse
            await uow.attributes.delete(organisation_id, attribute_id)
