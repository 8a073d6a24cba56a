"""Which of an organisation's relays mail goes through where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn_mailer.domain.relays import Relay

# Multiples of it, without their whole part, are as evenly spread as numbers can be, however many there are.
_GOLDEN = 0.6180339887498949


def place_of_batch(send_id: UUID, number: int) -> float:
    """Return where between 0 and 1 a batch stands.

    A campaign's batches are evenly spread, in whatever order they are sent, and each is always at the same place: what
    a relay has deferred goes to the same relay again, as greylisting wants it. One-batch campaigns are spread as well.
    """
    return (number * _GOLDEN + (send_id.int & 0xFFFF_FFFF) / 2**32) % 1.0


def ranked_for_batch(relays: Sequence[Relay], place: float) -> list[Relay]:
    """Return all relays, the one to use first: each comes first as often as its weight says.

    Those without weight stand by, the default before others; where no relay has a weight the default is used.
    """
    weighted = sorted((relay for relay in relays if relay.weight), key=lambda relay: relay.id)
    ranked: list[Relay] = []
    while weighted:
        chosen, place = _at(weighted, place)
        weighted.remove(chosen)
        ranked.append(chosen)
    standby = [relay for relay in relays if not relay.weight]
    return ranked + sorted(standby, key=lambda relay: (not relay.is_default, relay.id))


def ranked_for_message(relays: Sequence[Relay]) -> list[Relay]:
    """Return all relays, the one to use for a single message first: the default, then by weight."""
    return sorted(relays, key=lambda relay: (not relay.is_default, -relay.weight, relay.id))


def _at(relays: Sequence[Relay], place: float) -> tuple[Relay, float]:
    """Return the relay whose share holds the place, and the place within that share, from 0 to 1."""
    rest = place * sum(relay.weight for relay in relays)
    for relay in relays:
        if rest < relay.weight:
            return relay, rest / relay.weight
        rest -= relay.weight
    return relays[-1], 0.0  # rounded up to the very end
