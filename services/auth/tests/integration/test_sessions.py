"""Signing in, refreshing, signing out, against real PostgreSQL and Redis."""

from __future__ import annotations

from typing import Any

import argon2
import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"


async def _refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/v1/auth/refresh", json={"refresh_token": token})


async def test_an_owner_registers_signs_in_refreshes_and_signs_out(client: httpx.AsyncClient, register: Any) -> None:
    registered = await register(email="Grace.Hopper@Example.com")
    assert registered["user"]["email"] == "grace.hopper@example.com"
    assert registered["user"]["role"] == "owner"
    login = await client.post("/v1/auth/login", json={"email": "GRACE.hopper@example.com", "password": PASSWORD})
    assert login.status_code == 200
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    me = (await client.get("/v1/auth/me", headers=headers)).json()
    assert me["organisation"]["name"] == "Lighthouse Books"
    assert "campaigns:send" in me["permissions"]
    refreshed = await _refresh(client, login.json()["refresh_token"])
    assert refreshed.status_code == 200
    assert (await client.post("/v1/auth/logout", headers=headers)).status_code == 204
    dead = await _refresh(client, refreshed.json()["refresh_token"])
    assert (dead.status_code, dead.json()["code"]) == (401, "invalid_refresh_token")


async def test_unknown_users_and_wrong_passwords_get_the_same_answer(client: httpx.AsyncClient, register: Any) -> None:
    email = (await register())["user"]["email"]
    wrong = await client.post("/v1/auth/login", json={"email": email, "password": "wrong wrong wrong"})
    unknown = await client.post("/v1/auth/login", json={"email": "nobody@example.com", "password": "wrong wrong wrong"})
    assert wrong.status_code == unknown.status_code == 401
    ignored = {"request_id"}
    assert {k: v for k, v in wrong.json().items() if k not in ignored} == {
        k: v for k, v in unknown.json().items() if k not in ignored
    }


async def test_failed_logins_are_slowed_down_for_the_account_and_not_for_others(
    client: httpx.AsyncClient, register: Any
) -> None:
    email = (await register())["user"]["email"]
    other = (await register())["user"]["email"]
    for _ in range(3):
        await client.post("/v1/auth/login", json={"email": email, "password": "wrong wrong wrong"})
    limited = await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")
    assert int(limited.headers["retry-after"]) > 0
    assert (await client.post("/v1/auth/login", json={"email": other, "password": PASSWORD})).status_code == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "short"}, "weak_password"),
        ({"password": "x" * 129}, "weak_password"),
        ({"password": "password12345"}, "weak_password"),
        ({"password": "aaaaaaaaaaaaaaaa"}, "weak_password"),
        ({"email": "not an address"}, "invalid_request"),
        ({"email": "a@b.example\r\nRCPT TO:<c@d.example>"}, "invalid_request"),
        ({"name": "Ada\r\nBcc: x"}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"role": "owner"}, "invalid_request"),
    ],
)
async def test_a_bad_registration_is_refused(client: httpx.AsyncClient, change: dict[str, str], code: str) -> None:
    body = {"organisation_name": "B", "name": "Ada", "email": "bad@example.com", "password": PASSWORD, **change}
    answer = await client.post("/v1/auth/register", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_an_address_can_register_once(client: httpx.AsyncClient, register: Any) -> None:
    email = (await register())["user"]["email"]
    body = {"organisation_name": "B", "name": "Eve", "email": email.upper(), "password": PASSWORD}
    answer = await client.post("/v1/auth/register", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")


async def test_a_new_password_ends_all_other_sessions(client: httpx.AsyncClient, register: Any) -> None:
    first = await register()
    email = first["user"]["email"]
    other = (await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})).json()
    new = "quite another sentence"
    wrong = {"current_password": "not this one at all", "new_password": new}
    assert (await client.post("/v1/auth/password", json=wrong, headers=first["headers"])).status_code == 401
    right = {"current_password": PASSWORD, "new_password": new}
    assert (await client.post("/v1/auth/password", json=right, headers=first["headers"])).status_code == 204
    assert (await _refresh(client, other["refresh_token"])).status_code == 401
    assert (await _refresh(client, first["refresh_token"])).status_code == 200
    assert (await client.post("/v1/auth/login", json={"email": email, "password": new})).status_code == 200


async def test_sessions_are_listed_and_can_be_ended_one_by_one(client: httpx.AsyncClient, register: Any) -> None:
    first = await register()
    login = {"email": first["user"]["email"], "password": PASSWORD}
    second = (await client.post("/v1/auth/login", json=login)).json()
    listed = (await client.get("/v1/sessions", headers=first["headers"])).json()["items"]
    assert [item["is_current"] for item in listed] == [True, False]
    assert (await client.delete(f"/v1/sessions/{listed[1]['id']}", headers=first["headers"])).status_code == 204
    assert (await _refresh(client, second["refresh_token"])).status_code == 401
    stranger = await register()
    foreign = await client.delete(f"/v1/sessions/{listed[0]['id']}", headers=stranger["headers"])
    assert foreign.status_code == 404


async def test_all_other_sessions_can_be_ended_at_once(client: httpx.AsyncClient, register: Any) -> None:
    first = await register()
    login = {"email": first["user"]["email"], "password": PASSWORD}
    others = [(await client.post("/v1/auth/login", json=login)).json() for _ in range(2)]
    assert (await client.delete("/v1/sessions", headers=first["headers"])).status_code == 204
    assert [(await _refresh(client, other["refresh_token"])).status_code for other in others] == [401, 401]
    assert (await _refresh(client, first["refresh_token"])).status_code == 200


async def test_a_hash_of_weaker_parameters_is_made_anew_at_login(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    user = (await register())["user"]
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    change = sa.text("UPDATE users SET password_hash = :hash WHERE id = :id")
    async with container.engine.begin() as connection:
        await connection.execute(change, {"hash": weak, "id": user["id"]})
    for _ in range(2):
        login = await client.post("/v1/auth/login", json={"email": user["email"], "password": PASSWORD})
        assert login.status_code == 200
    async with container.engine.connect() as connection:
        query = sa.text("SELECT password_hash FROM users WHERE id = :id")
        stored = await connection.scalar(query, {"id": user["id"]})
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_unknown_users_cost_the_same_work(
    client: httpx.AsyncClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    hasher = container.signing_in._hasher
    fits = hasher._fits
    monkeypatch.setattr(hasher, "_fits", lambda wanted, password: hashed.append(wanted) or fits(wanted, password))
    answer = await client.post("/v1/auth/login", json={"email": "nobody@example.com", "password": PASSWORD})
    assert answer.status_code == 401
    assert [wanted.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for wanted in hashed] == [True]


async def test_a_password_typed_in_another_way_fits(client: httpx.AsyncClient, register: Any) -> None:
    email = (await register(password="Zu\u0308rich am ﬁnalen Tag"))["user"]["email"]
    login = {"email": email, "password": "Z\u00fcrich am finalen Tag"}
    assert (await client.post("/v1/auth/login", json=login)).status_code == 200


async def test_secrets_are_not_stored_in_clear(container: Container, register: Any) -> None:
    registered = await register()
    async with container.engine.connect() as connection:
        hashes = list(await connection.scalars(sa.text("SELECT password_hash FROM users")))
        tokens = list(await connection.scalars(sa.text("SELECT token_hash FROM refresh_tokens")))
        sealed = list(await connection.scalars(sa.text("SELECT sealed_private_key FROM signing_keys")))
    assert all(value.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for value in hashes)
    assert registered["refresh_token"].encode() not in tokens
    assert all(len(value) == 1 + 12 + 32 + 16 for value in sealed), "version, nonce, key, tag"
