"""Which relay a batch or a message goes through."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.domain.relays import Relay, TlsMode
from posthorn_mailer.domain.routing import place_of_batch, ranked_for_batch, ranked_for_message

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def a_relay(number: int, weight: int, *, is_default: bool = False) -> Relay:
    return Relay(
        id=UUID(int=number),
        organisation_id=UUID(int=0),
        name=str(number),
        host="relay.example",
        port=25,
        tls=TlsMode.NONE,
        verify_certificate=True,
        username=None,
        max_connections=1,
        messages_per_second=None,
        from_email=None,
        is_default=is_default,
        weight=weight,
        warm_up=None,
        version=1,
        created_at=_EPOCH,
        updated_at=_EPOCH,
    )


def fleet(*weights: int, default: int = 0) -> list[Relay]:
    return [a_relay(number, weight, is_default=number == default) for number, weight in enumerate(weights)]


def names(ranked: list[Relay]) -> str:
    return "".join(relay.name for relay in ranked)


def test_without_weights_the_default_takes_all_and_the_others_stand_by() -> None:
    assert {names(ranked_for_batch(fleet(0, 0, 0, default=1), place / 10)) for place in range(10)} == {"102"}


def test_relays_without_weight_come_after_all_that_have_one() -> None:
    assert {names(ranked_for_batch(fleet(0, 5, 0, default=2), place / 10)) for place in range(10)} == {"120"}


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 3), (1000, 1), (5, 0, 5)])
@pytest.mark.parametrize("batches", [20, 1000])
def test_batches_are_shared_as_the_weights_say_however_few_they_are(weights: tuple[int, ...], batches: int) -> None:
    relays, send_id = fleet(*weights), uuid4()
    firsts = Counter(ranked_for_batch(relays, place_of_batch(send_id, number))[0].name for number in range(batches))
    for number, weight in enumerate(weights):
        assert firsts[str(number)] == pytest.approx(batches * weight / sum(weights), abs=4)


def test_campaigns_of_one_batch_are_shared_as_well() -> None:
    relays = fleet(3, 1)
    firsts = Counter(ranked_for_batch(relays, place_of_batch(uuid4(), 0))[0].name for _ in range(2000))
    assert 1300 < firsts["0"] < 1700


def test_when_the_first_is_away_its_batches_are_shared_by_the_others() -> None:
    relays, send_id = fleet(10, 3, 1), UUID(int=7)
    ranked = [ranked_for_batch(relays, place_of_batch(send_id, number)) for number in range(1000)]
    seconds = Counter(one[1].name for one in ranked if one[0].name == "0")
    assert seconds["1"] > seconds["2"] > 0


@given(
    weights=st.lists(st.integers(0, 1000), min_size=1, max_size=8),
    send_id=st.uuids(),
    number=st.integers(0, 10_000_000),
)
def test_every_relay_is_ranked_once_and_a_batch_always_alike(weights: list[int], send_id: UUID, number: int) -> None:
    relays = fleet(*weights)
    place = place_of_batch(send_id, number)
    assert 0 <= place < 1
    ranked = ranked_for_batch(relays, place)
    assert sorted(relay.id for relay in ranked) == [relay.id for relay in relays]
    assert ranked_for_batch(relays[::-1], place) == ranked


def test_single_messages_go_through_the_default_and_then_by_weight() -> None:
    assert names(ranked_for_message(fleet(0, 1, 5, default=0))) == "021"
