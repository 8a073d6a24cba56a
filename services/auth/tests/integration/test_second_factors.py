"""Signing in with a second factor: set up, used, replayed, guessed, lost, required."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pyotp
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"
FACTOR = "/v1/auth/second-factor"


class App:
    """An authenticator app. Each code is of another period: the phone's clock goes on faster than ours."""

    def __init__(self, container: Container, user_id: str, secret: str) -> None:
        self.totp = pyotp.TOTP(secret)
        self._container = container
        self._user_id = user_id

    async def code(self) -> str:
        """Return a code that was not used before: what was used is moved into the past."""
        past = sa.text("UPDATE second_factors SET last_step = last_step - 10 WHERE user_id = :id")
        async with self._container.engine.begin() as connection:
            await connection.execute(past, {"id": self._user_id})
            now = await connection.scalar(sa.text("SELECT extract(epoch FROM now())"))
        return self.totp.at(int(now))


async def _login(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})


async def _challenge(client: httpx.AsyncClient, email: str) -> str:
    answer = await _login(client, email)
    assert (answer.status_code, answer.json()["enrolment"]) == (202, None)
    challenge: str = answer.json()["challenge"]
    return challenge


async def _second(client: httpx.AsyncClient, challenge: str, code: str) -> httpx.Response:
    return await client.post("/v1/auth/login/second-factor", json={"challenge": challenge, "code": code})


async def _set_up(client: httpx.AsyncClient, container: Container, user: dict[str, Any]) -> tuple[App, list[str]]:
    begun = await client.post(FACTOR, json={"current_password": PASSWORD}, headers=user["headers"])
    assert begun.status_code == 200, begun.text
    app = App(container, user["user"]["id"], begun.json()["secret"])
    confirmed = await client.post(f"{FACTOR}/confirm", json={"code": await app.code()}, headers=user["headers"])
    assert confirmed.status_code == 200, confirmed.text
    return app, confirmed.json()["recovery_codes"]


async def test_a_login_takes_a_code_once_an_app_is_set_up(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    email = owner["user"]["email"]
    other = (await _login(client, email)).json()
    app, codes = await _set_up(client, container, owner)
    assert len(set(codes)) == 10
    assert len(app.totp.secret) == 32
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": other["refresh_token"]})
    assert refreshed.status_code == 401, "sessions that were opened without a code are over"
    challenge = await _challenge(client, email)
    signed_in = await _second(client, challenge, await app.code())
    assert (signed_in.status_code, signed_in.json()["user"]["two_factor"]) == (200, True)
    assert (await _second(client, challenge, await app.code())).status_code == 401, "a challenge is met once"


async def test_a_code_is_not_taken_twice(client: httpx.AsyncClient, container: Container, register: Any) -> None:
    owner = await register()
    app, _ = await _set_up(client, container, owner)
    challenges = [await _challenge(client, owner["user"]["email"]) for _ in range(3)]
    code = await app.code()
    answers = await asyncio.gather(*(_second(client, challenge, code) for challenge in challenges))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert {answer.json().get("code") for answer in answers} == {None, "invalid_code"}


@pytest.mark.parametrize(("periods", "status"), [(-3, 401), (-1, 200), (1, 200), (3, 401)])
async def test_codes_of_the_periods_beside_the_present_one_are_taken(
    client: httpx.AsyncClient, container: Container, register: Any, periods: int, status: int
) -> None:
    owner = await register()
    app, _ = await _set_up(client, container, owner)
    challenge = await _challenge(client, owner["user"]["email"])
    await app.code()
    codes = container.second_factors._factors._codes
    async with container.engine.connect() as connection:
        now = await connection.scalar(sa.text("SELECT now()"))
    other = app.totp.at(now + timedelta(seconds=30 * periods))
    # By the clock of the code, not by ours: a slow machine may take longer than a period.
    found = codes.step_of(app.totp.secret, other, now)
    assert (found is not None) == (status == 200)
    assert found is None or found == int(now.timestamp()) // 30 + periods
    assert (await _second(client, challenge, "000000")).status_code == 401


async def test_a_recovery_code_works_once_and_new_ones_make_the_others_void(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    email = owner["user"]["email"]
    app, codes = await _set_up(client, container, owner)
    challenges = [await _challenge(client, email) for _ in range(3)]
    answers = await asyncio.gather(*(_second(client, challenge, codes[0]) for challenge in challenges))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert (
        await _second(client, await _challenge(client, email), codes[1].upper().replace("-", " "))
    ).status_code == 200
    left = (await client.get(FACTOR, headers=owner["headers"])).json()
    assert left == {"enabled": True, "required": False, "recovery_codes_left": 8}
    body = {"current_password": PASSWORD, "code": await app.code()}
    renewed = await client.post(f"{FACTOR}/recovery-codes", json=body, headers=owner["headers"])
    assert len(renewed.json()["recovery_codes"]) == 10
    assert (await _second(client, await _challenge(client, email), codes[2])).status_code == 401


async def test_codes_cannot_be_guessed(client: httpx.AsyncClient, container: Container, register: Any) -> None:
    owner = await register()
    email = owner["user"]["email"]
    app, _ = await _set_up(client, container, owner)
    challenge = await _challenge(client, email)
    answers = [await _second(client, challenge, "abcdef") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429], "by account, over all logins"
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await _second(client, challenge, await app.code())).status_code == 429


async def test_a_challenge_has_five_attempts_though_redis_is_away(
    client: httpx.AsyncClient, container: Container, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await register()
    app, _ = await _set_up(client, container, owner)
    challenge = await _challenge(client, owner["user"]["email"])

    async def away(key: str, by: int) -> tuple[int, int]:
        raise ConnectionError

    monkeypatch.setattr(container.signing_in._throttle, "_count", away)
    answers = [await _second(client, challenge, "abcdef") for _ in range(6)]
    assert [answer.json()["code"] for answer in answers] == ["invalid_code"] * 5 + ["challenge_not_valid"]
    assert (await _second(client, challenge, await app.code())).status_code == 401


@pytest.mark.parametrize("end", ["expired", "deactivated", "password changed"])
async def test_a_login_that_waits_for_its_code_ends(
    client: httpx.AsyncClient, container: Container, register: Any, end: str
) -> None:
    owner = await register()
    app, _ = await _set_up(client, container, owner)
    challenge = await _challenge(client, owner["user"]["email"])
    if end == "expired":
        async with container.engine.begin() as connection:
            await connection.execute(sa.text("UPDATE login_challenges SET expires_at = now()"))
    elif end == "deactivated":
        email = f"second-{owner['user']['id']}@example.com"
        body = {"name": "Second", "email": email, "password": PASSWORD, "role": "owner"}
        await client.post("/v1/users", json=body, headers=owner["headers"])
        second = {"Authorization": f"Bearer {(await _login(client, email)).json()['access_token']}"}
        assert (await client.delete(f"/v1/users/{owner['user']['id']}", headers=second)).status_code == 204
    else:
        body = {"current_password": PASSWORD, "new_password": "quite another sentence"}
        assert (await client.post("/v1/auth/password", json=body, headers=owner["headers"])).status_code == 204
    refused = await _second(client, challenge, await app.code())
    assert (refused.status_code, refused.json()["code"]) == (401, "challenge_not_valid")


async def test_a_second_factor_is_removed_with_password_and_code(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    app, _ = await _set_up(client, container, owner)
    path = f"{FACTOR}/disable"
    wrong = {"current_password": "wrong wrong wrong", "code": await app.code()}
    assert (await client.post(path, json=wrong, headers=owner["headers"])).status_code == 401
    body = {"current_password": PASSWORD, "code": "123abc"}
    assert (await client.post(path, json=body, headers=owner["headers"])).json()["code"] == "invalid_code"
    begun = await client.post(FACTOR, json={"current_password": PASSWORD}, headers=owner["headers"])
    assert begun.json()["code"] == "two_factor_set_up", "an open session cannot put its own in the place of another"
    body["code"] = await app.code()
    assert (await client.post(path, json=body, headers=owner["headers"])).status_code == 204
    assert (await _login(client, owner["user"]["email"])).status_code == 200


async def test_where_a_second_factor_is_required_nobody_is_without(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    email = f"member-{owner['user']['id']}@example.com"
    body = {"name": "Member", "email": email, "password": PASSWORD, "role": "viewer"}
    await client.post("/v1/users", json=body, headers=owner["headers"])
    member = (await _login(client, email)).json()
    require = {"two_factor_required": True}
    early = await client.patch("/v1/organisation", json=require, headers=owner["headers"])
    assert (early.status_code, early.json()["code"]) == (409, "two_factor_missing")
    app, _ = await _set_up(client, container, owner)
    required = await client.patch("/v1/organisation", json=require, headers=owner["headers"])
    assert required.json()["two_factor_required"] is True
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": member["refresh_token"]})
    assert refreshed.status_code == 401
    waiting = (await _login(client, email)).json()
    members_app = App(container, member["user"]["id"], waiting["enrolment"]["secret"])
    joined = await _second(client, waiting["challenge"], await members_app.code())
    assert (joined.status_code, len(joined.json()["recovery_codes"])) == (200, 10)
    assert (await _login(client, email)).json()["enrolment"] is None
    proof = {"current_password": PASSWORD, "code": await app.code()}
    kept = await client.post(f"{FACTOR}/disable", json=proof, headers=owner["headers"])
    assert (kept.status_code, kept.json()["code"]) == (409, "two_factor_required")


async def test_logins_at_the_moment_of_the_switch_do_not_slip_through(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    await _set_up(client, container, owner)
    email = f"member-{owner['user']['id']}@example.com"
    body = {"name": "Member", "email": email, "password": PASSWORD, "role": "viewer"}
    await client.post("/v1/users", json=body, headers=owner["headers"])
    require = {"two_factor_required": True}
    *logins, _ = await asyncio.gather(
        *(_login(client, email) for _ in range(3)),
        client.patch("/v1/organisation", json=require, headers=owner["headers"]),
    )
    for login in logins:
        if login.status_code == 200:
            refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": login.json()["refresh_token"]})
            assert refreshed.status_code == 401


async def test_whoever_lost_their_phone_is_helped_by_an_admin_of_their_own_organisation(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner, stranger = await register(), await register()
    email = f"member-{owner['user']['id']}@example.com"
    body = {"name": "Member", "email": email, "password": PASSWORD, "role": "editor"}
    added = (await client.post("/v1/users", json=body, headers=owner["headers"])).json()
    login = (await _login(client, email)).json()
    member = {"user": added, "headers": {"Authorization": f"Bearer {login['access_token']}"}}
    await _set_up(client, container, member)
    path = f"/v1/users/{added['id']}/second-factor"
    assert (await client.delete(path, headers=stranger["headers"])).status_code == 404
    assert (await client.delete(path, headers=member["headers"])).status_code == 403
    assert (await client.delete(path, headers=owner["headers"])).status_code == 204
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": login["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await _login(client, email)).status_code == 200
    own = f"/v1/users/{owner['user']['id']}/second-factor"
    assert (await client.delete(own, headers=owner["headers"])).status_code == 403


async def test_secrets_of_second_factors_are_not_stored_in_clear(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    app, codes = await _set_up(client, container, await register())
    async with container.engine.connect() as connection:
        sealed = list(await connection.scalars(sa.text("SELECT sealed_secret FROM second_factors")))
        hashes = list(await connection.scalars(sa.text("SELECT code_hash FROM recovery_codes")))
    assert not any(app.totp.secret.encode() in secret for secret in sealed)
    assert {len(code_hash) for code_hash in hashes} == {32}
    assert codes[0].encode() not in hashes
