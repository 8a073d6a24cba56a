"""Allowed origins while auth and Redis come and go."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from posthorn_common.errors import TransientError
from posthorn_gateway.app.origins import AllowedOrigins
from posthorn_gateway.app.ports import OrganisationOrigins

OURS, THEIRS, INSTALLATION = "https://ours.example", "https://theirs.example", "https://console.example"
WE, THEY = uuid4(), uuid4()


class FakeSource:
    """Auth, which can be away, and takes as long as the test wants."""

    def __init__(self) -> None:
        self.known: dict[UUID, frozenset[str]] = {}
        self.is_away = False
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def of_all(self) -> OrganisationOrigins:
        self.asked += 1
        self.is_asked.set()
        if self.is_away:
            raise TransientError("away")
        known = dict(self.known)
        await self.may_answer.wait()
        return known


class FakeStore:
    """A store that can be away."""

    def __init__(self) -> None:
        self.kept: OrganisationOrigins = {}
        self.is_away = False

    async def keep(self, known: OrganisationOrigins) -> None:
        self._check()
        self.kept = known

    async def recall(self) -> OrganisationOrigins:
        self._check()
        return self.kept

    def _check(self) -> None:
        if self.is_away:
            raise TransientError("away")


async def test_an_organisation_allows_for_itself_and_the_installation_for_all() -> None:
    source = FakeSource()
    source.known = {WE: frozenset({OURS}), THEY: frozenset({THEIRS})}
    origins = AllowedOrigins([INSTALLATION], source, FakeStore())
    await origins.ask()
    assert [origins.allowed_by(WE, origin) for origin in (OURS, THEIRS, INSTALLATION)] == [True, False, True]
    assert [origins.allowed_by(uuid4(), origin) for origin in (OURS, THEIRS, INSTALLATION)] == [False, False, True]
    asked = (OURS, THEIRS, INSTALLATION, "https://evil.example", "null", "*", "")
    assert [origins.allowed_by_anybody(origin) for origin in asked] == [True, True, True, False, False, False, False]


async def test_what_is_removed_is_allowed_no_more() -> None:
    source = FakeSource()
    source.known = {WE: frozenset({OURS, INSTALLATION}), THEY: frozenset({OURS})}
    origins = AllowedOrigins([INSTALLATION], source, FakeStore())
    await origins.ask()
    source.known = {THEY: frozenset({OURS})}
    await origins.ask()
    assert (origins.allowed_by(WE, OURS), origins.allowed_by_anybody(OURS)) == (False, True)
    source.known = {}
    await origins.ask()
    assert not origins.allowed_by_anybody(OURS)
    assert origins.allowed_by(WE, INSTALLATION), "the installation goes on to allow it"


async def test_what_is_known_holds_while_auth_and_the_store_are_away() -> None:
    source, store = FakeSource(), FakeStore()
    source.known = {WE: frozenset({OURS})}
    store.is_away = True
    origins = AllowedOrigins([], source, store)
    await origins.recall()
    assert not origins.allowed_by_anybody(OURS)
    await origins.ask()
    assert origins.allowed_by(WE, OURS), "the store is not needed for what auth has said"
    source.is_away = True
    await origins.ask()
    assert origins.allowed_by(WE, OURS)


async def test_a_process_that_starts_while_auth_is_away_knows_what_others_knew() -> None:
    source, store = FakeSource(), FakeStore()
    source.known = {WE: frozenset({OURS})}
    await AllowedOrigins([], source, store).ask()
    source.is_away = True
    later = AllowedOrigins([INSTALLATION], source, store)
    await later.recall()
    await later.ask()
    assert later.allowed_by(WE, OURS)
    assert later.allowed_by_anybody(INSTALLATION)


async def test_a_change_while_auth_answers_is_asked_for_again_once_for_all_who_call() -> None:
    source = FakeSource()
    origins = AllowedOrigins([], source, FakeStore())
    source.may_answer.clear()
    first = asyncio.create_task(origins.ask())
    await source.is_asked.wait()
    source.known = {WE: frozenset({OURS})}
    more = [asyncio.create_task(origins.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    source.may_answer.set()
    await asyncio.gather(first, *more)
    assert origins.allowed_by(WE, OURS)
    assert source.asked == 2
