"""How long what is known of callers is believed."""

from __future__ import annotations

import contextlib
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from posthorn_common.errors import TransientError
from posthorn_common.testing import FakeClock
from posthorn_common.tokens import InvalidToken as NotAccepted
from posthorn_common.tokens import Principal
from posthorn_gateway.app.callers import Callers
from posthorn_gateway.app.ports import ExchangedKey
from posthorn_gateway.app.revocations import Revocations
from posthorn_gateway.domain.errors import InvalidToken, ServiceUnavailable

LIFETIME = 600
KEY_LIFETIME = 300


class FakeVerifier:
    """Accepts every token once it is asked, and counts."""

    def __init__(self, clock: FakeClock) -> None:
        self.asked = 0
        self._expires_at = int(clock.now().timestamp()) + LIFETIME

    async def verify(self, _token: str) -> Principal:
        self.asked += 1
        return Principal(uuid4(), uuid4(), "user", frozenset(), session_id=uuid4(), expires_at=self._expires_at)


class FakeExchange:
    """Exchanges one key, unless it is away."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    async def exchange(self, api_key: str) -> ExchangedKey:
        self.asked += 1
        if self.is_away:
            raise TransientError("away")
        if api_key != "ph_good":
            raise NotAccepted("void")
        return ExchangedKey(f"token {self.asked}", KEY_LIFETIME, UUID(int=1))


class NoRevocations:
    async def within(self, seconds: float) -> dict[UUID, datetime]:
        return {}

    async def add(self, revoked: object) -> None:
        return None

    async def all(self, now: float) -> dict[UUID, float]:
        return {}


class Fixture:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.verifier = FakeVerifier(self.clock)
        self.exchange = FakeExchange()
        self.attempts = 0
        self.callers = Callers(
            verifier=self.verifier,  # type: ignore[arg-type]  # only `verify` is used
            key_exchange=self.exchange,
            revocations=Revocations(NoRevocations(), NoRevocations(), self.clock),
            clock=self.clock,
            api_key_cache_seconds=30,
        )

    async def identify(self, credential: str) -> str:
        async def attempt() -> None:
            self.attempts += 1

        return (await self.callers.identify(credential, attempt)).access_token


async def test_a_verified_token_is_believed_for_five_minutes_and_never_beyond_its_end() -> None:
    fixture = Fixture()
    for seconds, asked in ((0, 1), (299, 1), (2, 2), (290, 2), (10, 3), (0, 4)):
        fixture.clock.advance(seconds=seconds)
        await fixture.identify("a token")
        assert fixture.verifier.asked == asked


async def test_an_exchanged_key_is_used_for_a_while_and_longer_only_while_auth_is_away() -> None:
    fixture = Fixture()
    assert await fixture.identify("ph_good") == "token 1"
    fixture.clock.advance(seconds=29)
    assert await fixture.identify("ph_good") == "token 1"
    fixture.clock.advance(seconds=2)
    assert await fixture.identify("ph_good") == "token 2"
    fixture.exchange.is_away = True
    fixture.clock.advance(seconds=KEY_LIFETIME - 31)
    assert await fixture.identify("ph_good") == "token 2"
    fixture.clock.advance(seconds=2)
    with pytest.raises(ServiceUnavailable):
        await fixture.identify("ph_good")


async def test_a_void_key_is_asked_about_again_later() -> None:
    fixture = Fixture()
    for seconds, asked in ((0, 1), (9, 1), (2, 2)):
        fixture.clock.advance(seconds=seconds)
        with pytest.raises(InvalidToken):
            await fixture.identify("ph_void")
        assert fixture.exchange.asked == fixture.attempts == asked


@pytest.mark.parametrize("key", ["ph_good", "ph_void"])
async def test_a_key_is_not_asked_about_again_by_who_was_counted_while_another_asked(key: str) -> None:
    fixture = Fixture()

    async def slow_attempt() -> None:
        with contextlib.suppress(InvalidToken):
            await fixture.identify(key)

    with contextlib.suppress(InvalidToken):
        await fixture.callers.identify(key, slow_attempt)
    assert fixture.exchange.asked == 1
