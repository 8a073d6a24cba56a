"""Limits of sending: what an organisation allows itself, and the buckets that keep them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

from posthorn_mailer.domain.errors import InvalidLimit
from posthorn_mailer.domain.operators import OPERATORS, operator_of_domain
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt, Outcome, Stage, Verdict

MAX_DOMAIN_LIMITS = 200

# Whoever has had enough gets less than what got through last. Who got next to nothing lately may simply be new, and is
# taken for somebody who takes a little.
SLOWER = 0.8
LEAST_FULL_RATE = 10.0
SLOWEST_RATE = 0.05


@dataclass(frozen=True, slots=True)
class DomainLimit:
    """A limit for one recipient domain, or for all domains of one operator. At least one of the two is set."""

    name: str
    messages_per_second: float | None
    max_connections: int | None


@dataclass(frozen=True, slots=True)
class SendingLimits:
    """What an organisation allows itself, over all its relays and campaigns; None: as much as it goes."""

    messages_per_second: float | None = None
    domains: dict[str, DomainLimit] = field(default_factory=dict)


NO_LIMITS = SendingLimits()


def check_domain_limit(limit: DomainLimit) -> None:
    """Raise InvalidLimit unless the limit can take effect."""
    if limit.messages_per_second is None and limit.max_connections is None:
        raise InvalidLimit(limit.name, "needs messages_per_second or max_connections")
    if limit.name in OPERATORS:
        return
    operator = operator_of_domain(limit.name)
    if operator is not None:
        raise InvalidLimit(limit.name, f"is a domain of the operator {operator}, which limits all its domains together")
    if "." not in limit.name:
        raise InvalidLimit(limit.name, "is neither a domain nor an operator: " + ", ".join(sorted(OPERATORS)))


def slower(rate: float | None, observed_rate: float) -> float:
    """Return the new pace of whoever had enough at this pace (None: at full speed), in messages per second."""
    if rate is None:
        return max(observed_rate, LEAST_FULL_RATE) * SLOWER
    return max(min(rate, observed_rate) * SLOWER, SLOWEST_RATE)


def has_enough(attempt: Attempt, verdict: Verdict) -> Literal["domain", "relay"] | None:
    """Return who wants mail more slowly, if that is what the reply says (421 and 4.7.x, and what providers write)."""
    if verdict.outcome is not Outcome.DEFERRED or verdict.counts_attempt or attempt.code is None:
        return None
    if verdict.cause == "domain":
        return "domain"
    return "relay" if verdict.cause == "relay" and attempt.stage in _ENVELOPE else None


class Bucket(NamedTuple):
    """A token bucket that all workers share, and how many messages per second flow into it."""

    key: str
    rate: float


class Demand(NamedTuple):
    """Messages that each of these buckets must have a token for."""

    buckets: tuple[Bucket, ...]
    wanted: int


class Grant(NamedTuple):
    """What was granted of a demand; where that is not all, the bucket that had too little and when it has one more."""

    granted: int
    refused_by: str | None = None
    seconds: float = 0.0


_ENVELOPE = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT})

ALL_OF_RELAY = "*"
"""The place of the relay itself among the recipient groups that it slows down."""


def everybodys_buckets(relay: Relay, limits: SendingLimits) -> tuple[Bucket, ...]:
    """Return the buckets of whatever goes through a relay: its own, and its organisation's."""
    found = []
    if relay.messages_per_second is not None:
        found.append(Bucket(f"relay:{relay.id}", relay.messages_per_second))
    if limits.messages_per_second is not None:
        found.append(Bucket(f"organisation:{relay.organisation_id}", limits.messages_per_second))
    return tuple(found)


def campaign_bucket(send_id: UUID, rate: float) -> Bucket:
    """Return the bucket of a campaign."""
    return Bucket(f"campaign:{send_id}", rate)


def domain_bucket(organisation_id: UUID, group: str, rate: float) -> Bucket:
    """Return the bucket of an organisation's limit for a recipient domain or operator."""
    return Bucket(f"domain:{organisation_id}:{group}", rate)


def slowed_bucket(relay_id: UUID, group: str, rate: float) -> Bucket:
    """Return the bucket of what a relay takes at present for a recipient domain or operator."""
    return Bucket(f"slowed:{relay_id}:{group}", rate)
