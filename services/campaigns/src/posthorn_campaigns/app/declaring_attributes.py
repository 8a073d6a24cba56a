"""Declaring attributes: what the contacts of an organisation have besides a name."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.attributes import (
    MAX_DECLARATIONS,
    MAX_INDEXED,
    NOT_INDEXABLE,
    AttributeDeclaration,
    AttributeType,
    Declarations,
)
from posthorn_campaigns.domain.errors import (
    AttributeInUse,
    AttributeNotIndexable,
    TooManyDeclarations,
    TooManyIndexed,
)
from posthorn_common.clock import Clock, new_id

_STEP_ROWS = 5_000


class DeclaringAttributes:
    """The use cases of declarations. Contacts that exist are left as they are."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def declare(
        self,
        organisation_id: UUID,
        key: str,
        kind: AttributeType,
        *,
        required: bool,
        description: str,
        indexed: bool = False,
    ) -> AttributeDeclaration:
        """Declare an attribute. Raises AttributeExists, TooManyDeclarations, TooManyIndexed, AttributeNotIndexable."""
        declaration = AttributeDeclaration(
            id=new_id(),
            organisation_id=organisation_id,
            key=key,
            type=kind,
            required=required,
            description=description,
            created_at=self._clock.now(),
            index_id=new_id() if indexed else None,
        )
        async with self._new_unit_of_work() as uow:
            await uow.attributes.lock(organisation_id)
            declared = await uow.attributes.declared(organisation_id)
            if len(declared) >= MAX_DECLARATIONS and key not in declared:
                raise TooManyDeclarations(MAX_DECLARATIONS)
            if indexed and key not in declared:
                _check_index(declaration, declared)
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
        self,
        organisation_id: UUID,
        attribute_id: UUID,
        *,
        required: bool | None,
        description: str | None,
        indexed: bool | None = None,
    ) -> AttributeDeclaration:
        """Change a declaration; None leaves a part as it is.

        Raises AttributeNotFound, TooManyIndexed, AttributeNotIndexable.
        """
        async with self._new_unit_of_work() as uow:
            await uow.attributes.lock(organisation_id)
            before = await uow.attributes.get(organisation_id, attribute_id, lock=True)
            if indexed is None or indexed is before.indexed:
                index_id, is_ready = before.index_id, before.index_ready
            else:
                index_id, is_ready = (new_id() if indexed else None), False
            changed = replace(
                before,
                required=before.required if required is None else required,
                description=before.description if description is None else description,
                index_id=index_id,
                index_ready=is_ready,
            )
            if changed.indexed and not before.indexed:
                _check_index(changed, await uow.attributes.declared(organisation_id))
            if before.index_id is not None and not changed.indexed:
                await uow.attributes.drop_index(before.index_id)
            await uow.attributes.save(changed)
        return changed

    async def withdraw(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Take a declaration back; values that contacts have stay. Raises AttributeNotFound, AttributeInUse."""
        async with self._new_unit_of_work() as uow:
            # Nobody saves a segment meanwhile.
            await uow.segments.lock(organisation_id)
            declaration = await uow.attributes.get(organisation_id, attribute_id, lock=True)
            if await uow.segments.use_attribute(organisation_id, declaration.key):
                raise AttributeInUse
            if declaration.index_id is not None:
                await uow.attributes.drop_index(declaration.index_id)
            await uow.attributes.delete(organisation_id, attribute_id)

    async def build_indexes(self) -> None:
        """Fill indexes with the contacts there were before, and delete the values of dropped ones, step by step."""
        for step in (self._fill, self._clear):
            while await step():
                pass

    async def _fill(self) -> bool:
        async with self._new_unit_of_work() as uow:
            return await uow.attribute_indexes.fill(_STEP_ROWS)

    async def _clear(self) -> bool:
        async with self._new_unit_of_work() as uow:
            return await uow.attribute_indexes.clear(_STEP_ROWS)


def _check_index(wanted: AttributeDeclaration, declared: Declarations) -> None:
    """Raise unless the attribute may have an index. Raises TooManyIndexed, AttributeNotIndexable."""
    if wanted.type in NOT_INDEXABLE:
        raise AttributeNotIndexable(wanted.type)
    if sum(each.indexed for each in declared.values() if each.id != wanted.id) >= MAX_INDEXED:
        raise TooManyIndexed(MAX_INDEXED)
