"""Revocations while Redis comes and goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from posthorn_common.errors import TransientError
from posthorn_common.testing import FakeClock
from posthorn_gateway.app.recent import Recent
from posthorn_gateway.app.revocations import Revocations


class FakeStore:
    """A store that can be away."""

    def __init__(self) -> None:
        self.kept: dict[UUID, float] = {}
        self.is_away = False

    async def add(self, revoked: Mapping[UUID, float]) -> None:
        self._check()
        self.kept.update(revoked)

    async def all(self, now: float) -> Mapping[UUID, float]:
        self._check()
        return {id_: until for id_, until in self.kept.items() if until > now}

    def _check(self) -> None:
        if self.is_away:
            raise TransientError("away")


class FakeSource:
    """Auth, which can be away."""

    def __init__(self) -> None:
        self.revoked: dict[UUID, datetime] = {}
        self.is_away = False

    async def within(self, seconds: float) -> Mapping[UUID, datetime]:
        if self.is_away:
            raise TransientError("away")
        return self.revoked


async def test_auth_tells_what_no_event_told() -> None:
    store, source, clock = FakeStore(), FakeSource(), FakeClock()
    revocations = Revocations(store, source, clock)
    id_, old = uuid4(), uuid4()
    source.revoked = {id_: clock.now(), old: clock.now() - timedelta(hours=1)}
    await revocations.ask()
    assert revocations.includes(id_)
    assert not revocations.includes(old)
    await revocations.sync()
    assert list(store.kept) == [id_], "the other processes hear of it too"
    source.is_away = True
    await revocations.ask()
    assert revocations.includes(id_)


async def test_what_was_revoked_while_the_store_was_away_is_kept_when_it_is_back() -> None:
    store, clock = FakeStore(), FakeClock()
    revocations = Revocations(store, FakeSource(), clock)
    id_ = uuid4()
    store.is_away = True
    await revocations.revoke(id_, clock.now())
    await revocations.sync()
    assert revocations.includes(id_)
    assert store.kept == {}
    store.is_away = False
    await revocations.sync()
    assert list(store.kept) == [id_]
    other = Revocations(store, FakeSource(), clock)
    await other.sync()
    assert other.includes(id_)


async def test_the_same_event_twice_changes_nothing() -> None:
    store, clock = FakeStore(), FakeClock()
    revocations = Revocations(store, FakeSource(), clock)
    id_, at = uuid4(), clock.now()
    await revocations.revoke(id_, at)
    before = dict(store.kept)
    clock.advance(minutes=1)
    await revocations.revoke(id_, at)
    assert store.kept == before


async def test_an_id_is_forgotten_when_no_token_of_it_can_be_valid() -> None:
    store, clock = FakeStore(), FakeClock()
    revocations = Revocations(store, FakeSource(), clock)
    id_ = uuid4()
    await revocations.revoke(id_, clock.now())
    clock.advance(minutes=10, seconds=30)
    await revocations.sync()
    assert revocations.includes(id_)
    clock.advance(seconds=31)
    await revocations.sync()
    assert not revocations.includes(id_)
    await revocations.revoke(uuid4(), clock.now() - timedelta(hours=1))
    assert len(store.kept) == 1


async def test_nobody_is_not_revoked() -> None:
    revocations = Revocations(FakeStore(), FakeSource(), FakeClock())
    await revocations.revoke(uuid4(), FakeClock().now())
    assert not revocations.includes(None)


def test_a_memory_is_bounded_and_ends() -> None:
    memory: Recent[str, int] = Recent(2)
    memory.put("a", 1, until=10)
    memory.put("b", 2, until=10)
    assert memory.get("a", now=5) == 1
    memory.put("c", 3, until=10)
    assert [memory.get(key, now=5) for key in "abc"] == [1, None, 3], "what was used longest ago has gone"
    assert memory.get("a", now=10) is None
    assert len(memory) == 1


async def test_what_is_known_grows_stale_while_auth_does_not_tell() -> None:
    source, clock = FakeSource(), FakeClock()
    revocations = Revocations(FakeStore(), source, clock, stale_seconds=60)
    source.is_away = True
    clock.advance(seconds=61)
    await revocations.ask()
    await revocations.sync()
    assert revocations.are_stale(), "what other gateways know is as old"
    source.is_away = False
    await revocations.ask()
    assert not revocations.are_stale()
