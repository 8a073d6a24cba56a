"""Finds a relay that takes mail now: the one that was named, or the first in rank that is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from posthorn_mailer.app.breakers import Admission, Breakers
from posthorn_mailer.app.ports_transport import Relays
from posthorn_mailer.app.warm_ups import WarmUps
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.routing import place_of_batch, ranked_for_batch, ranked_for_message

_CAMPAIGNS = "campaigns"


@dataclass(frozen=True, slots=True)
class Route:
    """The relay to use; if `seconds` is not 0, the one that may be used first.

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

    def __init__(self, relays: Relays, breakers: Breakers, warm_ups: WarmUps) -> None:
        self._relays = relays
        self._breakers = breakers
        self._warm_ups = warm_ups

    async def for_batch(self, organisation_id: UUID, relay_id: UUID | None, send_id: UUID, number: int) -> Route:
        """Return the way of a batch. Raises RelayNotFound."""
        if relay_id is not None:
            ranked = [await self._relays.get(organisation_id, relay_id)]
        else:
            ranked = ranked_for_batch(await self._relays.of(organisation_id), place_of_batch(send_id, number))
        return await self._first(ranked, _CAMPAIGNS)

    async def for_message(self, organisation_id: UUID, relay_id: UUID | None, message_id: UUID) -> Route:
        """Return the way of a single message, which no warm-up plan holds back. Raises RelayNotFound."""
        if relay_id is not None:
            ranked = [await self._relays.get(organisation_id, relay_id)]
        else:
            ranked = ranked_for_message(await self._relays.of(organisation_id))
        return await self._first(ranked, f"message {message_id}")

    def leave(self, route: Route) -> None:
        """Give a way back."""
        self._breakers.of(route.relay.id).leave(route.admission)

    def has_other(self, route: Route) -> bool:
        """Whether the relay takes no more and mail may go another way at once, as far as this process knows."""
        return not self._is_free(route.relay) and any(self._is_free(relay) for relay in route.others)

    def notice(self, route: Route) -> str | None:
        """Return what to tell people of a relay that is away; None while it may be a mere hiccup."""
        if self._warm_ups.used_up_for(route.relay) > 0:
            return self._warm_ups.notice(route.relay)
        return self._breakers.of(route.relay.id).notice(route.relay.name)

    async def told(self, route: Route) -> None:
        """Wait until other processes know what this one found out about the relay, and may use what it has left."""
        await self._breakers.of(route.relay.id).told()
        if route.relay.warm_up is not None:
            await self._warm_ups.give_back(route.relay)

    def _is_free(self, relay: Relay) -> bool:
        return self._breakers.of(relay.id).seconds_left() == 0 and self._warm_ups.used_up_for(relay) == 0

    async def _first(self, ranked: Sequence[Relay], who: str) -> Route:
        """Raises RelayNotFound."""
        soonest: Route | None = None
        for relay in ranked:
            used_up = self._warm_ups.used_up_for(relay) if who == _CAMPAIGNS else 0.0
            admission = Admission(used_up) if used_up else await self._breakers.of(relay.id).admit(who)
            route = Route(relay, admission, [other for other in ranked if other is not relay])
            if route.seconds == 0:
                return route
            if soonest is None or route.seconds < soonest.seconds:
                soonest = route
        if soonest is None:
            raise RelayNotFound
        return soonest
