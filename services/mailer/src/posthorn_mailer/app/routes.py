"""Finds a relay that takes mail now: the one that was named, or the first in rank whose breaker lets us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from posthorn_mailer.app.breakers import Admission, Breakers
from posthorn_mailer.app.ports_transport import Relays
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.routing import place_of_batch, ranked_for_batch, ranked_for_message


@dataclass(frozen=True, slots=True)
class Route:
    """The relay to use, or if `seconds` is not 0, the one that may be used first, and in how many.

    Give it back by `Routes.leave`.
    """

    relay: Relay
    admission: Admission
    others: Sequence[Relay]

    @property
    def seconds(self) -> float:
        """In how many seconds a relay may be used; 0 for now."""
        return self.admission.seconds


class Routes:
    """The ways of mail in this process."""

    def __init__(self, relays: Relays, breakers: Breakers) -> None:
        self._relays = relays
        self._breakers = breakers

    async def for_batch(self, organisation_id: UUID, relay_id: UUID | None, send_id: UUID, number: int) -> Route:
        """Return the way of a batch. Raises RelayNotFound."""
        if relay_id is not None:
            return await self._named(organisation_id, relay_id, "campaigns")
        relays = await self._relays.of(organisation_id)
        return await self._first(ranked_for_batch(relays, place_of_batch(send_id, number)), "campaigns")

    async def for_message(self, organisation_id: UUID, relay_id: UUID | None, message_id: UUID) -> Route:
        """Return the way of a single message. Raises RelayNotFound."""
        who = f"message {message_id}"
        if relay_id is not None:
            return await self._named(organisation_id, relay_id, who)
        return await self._first(ranked_for_message(await self._relays.of(organisation_id)), who)

    def leave(self, route: Route) -> None:
        """Give a way back."""
        self._breakers.of(route.relay.id).leave(route.admission)

    def has_other(self, route: Route) -> bool:
        """Whether the relay has gone away and mail may go another way at once, as far as this process knows."""
        if self._breakers.of(route.relay.id).seconds_left() == 0:
            return False
        return any(self._breakers.of(relay.id).seconds_left() == 0 for relay in route.others)

    def notice(self, route: Route) -> str | None:
        """Return what to tell people of a relay that is away; None while it may be a mere hiccup."""
        return self._breakers.of(route.relay.id).notice(route.relay.name)

    async def told(self, route: Route) -> None:
        """Wait until the other processes have been told what this one found out about the relay."""
        await self._breakers.of(route.relay.id).told()

    async def _named(self, organisation_id: UUID, relay_id: UUID, who: str) -> Route:
        return await self._first([await self._relays.get(organisation_id, relay_id)], who)

    async def _first(self, ranked: Sequence[Relay], who: str) -> Route:
        """Raises RelayNotFound."""
        soonest: Route | None = None
        for relay in ranked:
            admission = await self._breakers.of(relay.id).admit(who)
            route = Route(relay, admission, [other for other in ranked if other is not relay])
            if route.seconds == 0:
                return route
            if soonest is None or route.seconds < soonest.seconds:
                soonest = route
        if soonest is None:
            raise RelayNotFound
        return soonest
