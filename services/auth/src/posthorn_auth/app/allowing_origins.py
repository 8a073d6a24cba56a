"""Web pages that may call the API for an organisation's users."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from posthorn_auth.app.ports import NewUnitOfWork
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import CorsOriginsChanged, CorsOriginsChangedData


class AllowingOrigins:
    """The use cases of allowed origins, which are checked and written as browsers write them."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def of(self, organisation_id: UUID) -> list[str]:
        """Return the organisation's, sorted."""
        async with self._new_unit_of_work() as uow:
            return await uow.origins.of(organisation_id)

    async def replace(self, organisation_id: UUID, origins: Iterable[str]) -> list[str]:
        """Allow these and no others; return them sorted. The gateways are told to ask. Idempotent."""
        wanted = sorted(set(origins))
        async with self._new_unit_of_work() as uow:
            await uow.origins.replace(organisation_id, wanted)
            data = CorsOriginsChangedData()
            await uow.publish(event(CorsOriginsChanged, organisation_id, organisation_id, data, self._clock))
        return wanted

    async def of_all(self) -> dict[UUID, list[str]]:
        """Return those of every organisation that allows any, for the gateways."""
        async with self._new_unit_of_work() as uow:
            return await uow.origins.of_all()
