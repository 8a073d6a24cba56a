"""One transaction over everything that the service stores. What each feature needs besides is in `ports_*`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from posthorn_campaigns.app.ports_access import AccessRequests
from posthorn_campaigns.app.ports_attributes import AttributeIndexes, Attributes
from posthorn_campaigns.app.ports_audience import Activities, Audiences, Contacts, Engagements, Imports, Lists
from posthorn_campaigns.app.ports_campaigns import Campaigns, Templates
from posthorn_campaigns.app.ports_erasures import Erasures
from posthorn_campaigns.app.ports_exports import Exports
from posthorn_campaigns.app.ports_opt_in import Subscriptions
from posthorn_campaigns.app.ports_segments import Segments
from posthorn_campaigns.app.ports_suppressions import Suppressions
from posthorn_contracts.envelope import Event


class UnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def contacts(self) -> Contacts: ...
    @property
    def attributes(self) -> Attributes: ...
    @property
    def attribute_indexes(self) -> AttributeIndexes: ...
    @property
    def segments(self) -> Segments: ...
    @property
    def audiences(self) -> Audiences: ...
    @property
    def engagements(self) -> Engagements: ...
    @property
    def subscriptions(self) -> Subscriptions: ...
    @property
    def suppressions(self) -> Suppressions: ...
    @property
    def activities(self) -> Activities: ...
    @property
    def lists(self) -> Lists: ...
    @property
    def imports(self) -> Imports: ...
    @property
    def exports(self) -> Exports: ...
    @property
    def erasures(self) -> Erasures: ...
    @property
    def access_requests(self) -> AccessRequests: ...
    @property
    def templates(self) -> Templates: ...
    @property
    def campaigns(self) -> Campaigns: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def publish(self, event: Event) -> None:
        """Add an event to the outbox, in this transaction."""
        ...

    async def first_time(self, event: Event) -> bool:
        """Whether the event was not handled before; remembered in this transaction."""
        ...


NewUnitOfWork = Callable[[], UnitOfWork]
"""Starts a unit of work."""
