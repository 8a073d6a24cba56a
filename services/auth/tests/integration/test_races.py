"""What several callers do at the same time, and what happens while a password is being hashed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container, bootstrap
from posthorn_auth.domain.credentials import REPEATABLE_FOR
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.settings import Settings

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"
WRONG = "wrong wrong wrong"


async def _refresh(client: httpx.AsyncClient, token: str, agent: str = "tests") -> httpx.Response:
    return await client.post("/v1/auth/refresh", json={"refresh_token": token}, headers={"User-Agent": agent})


async def _login(client: httpx.AsyncClient, email: str, password: str, address: str = "") -> httpx.Response:
    headers = {"X-Forwarded-For": address} if address else {}
    return await client.post("/v1/auth/login", json={"email": email, "password": password}, headers=headers)


async def _age_used_tokens(container: Container) -> None:
    async with container.engine.begin() as connection:
        statement = sa.text("UPDATE refresh_tokens SET used_at = used_at - :age WHERE used_at IS NOT NULL").bindparams(
            sa.bindparam("age", type_=sa.Interval)
        )
        await connection.execute(statement, {"age": REPEATABLE_FOR})


async def test_a_client_whose_answer_was_lost_gets_the_same_token_again(
    client: httpx.AsyncClient, register: Any
) -> None:
    first = (await register())["refresh_token"]
    lost = (await _refresh(client, first)).json()
    again = await _refresh(client, first)
    assert again.status_code == 200
    assert again.json()["refresh_token"] == lost["refresh_token"]
    assert (await _refresh(client, lost["refresh_token"])).status_code == 200, "the session goes on"


async def test_after_ten_seconds_a_second_use_ends_the_session(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    first = (await register())["refresh_token"]
    second = (await _refresh(client, first)).json()["refresh_token"]
    await _age_used_tokens(container)
    replayed = await _refresh(client, first)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "invalid_refresh_token")
    assert (await _refresh(client, second)).status_code == 401, "whoever has the newer token is out as well"


async def test_a_token_whose_successor_was_used_was_not_lost(client: httpx.AsyncClient, register: Any) -> None:
    first = (await register())["refresh_token"]
    second = (await _refresh(client, first)).json()["refresh_token"]
    third = (await _refresh(client, second)).json()["refresh_token"]
    assert (await _refresh(client, first)).status_code == 401
    assert (await _refresh(client, third)).status_code == 401


async def test_another_client_does_not_get_the_answer_again(client: httpx.AsyncClient, register: Any) -> None:
    first = (await register())["refresh_token"]
    second = (await _refresh(client, first)).json()["refresh_token"]
    assert (await _refresh(client, first, agent="somebody else")).status_code == 401
    assert (await _refresh(client, second)).status_code == 401


async def test_many_refreshes_at_once_leave_one_token(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    registered = await register()
    answers = await asyncio.gather(*(_refresh(client, registered["refresh_token"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    async with container.engine.connect() as connection:
        query = sa.text(
            "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id"
            " WHERE user_id = :user AND used_at IS NULL"
        )
        assert await connection.scalar(query, {"user": registered["user"]["id"]}) == 1


async def test_a_session_that_was_ended_is_not_repeated(client: httpx.AsyncClient, register: Any) -> None:
    registered = await register()
    await _refresh(client, registered["refresh_token"])
    assert (await client.post("/v1/auth/logout", headers=registered["headers"])).status_code == 204
    assert (await _refresh(client, registered["refresh_token"])).status_code == 401


@pytest_asyncio.fixture
async def narrow_client(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A process with fewer database connections than requests, whose signing keys have to be read again."""
    async with bootstrap(settings.model_copy(update={"database_pool_size": 1})) as opened:
        transport = httpx.ASGITransport(build_app(opened))
        async with httpx.AsyncClient(transport=transport, base_url="http://auth") as http:
            yield http


async def test_refreshes_do_not_wait_for_connections_that_they_hold_themselves(
    narrow_client: httpx.AsyncClient, register: Any
) -> None:
    tokens = [(await register())["refresh_token"] for _ in range(10)]
    answers = await asyncio.gather(*(_refresh(narrow_client, token) for token in tokens))
    assert [answer.status_code for answer in answers] == [200] * 10


@pytest.fixture
def while_hashing(container: Container, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have something done between the look at a password and what follows."""
    hasher = container.signing_in._hasher
    verify = hasher.verify

    def arrange(action: Callable[[], Awaitable[Any]]) -> None:
        async def slow_verify(password: str, password_hash: str | None) -> bool:
            fits = await verify(password, password_hash)
            monkeypatch.setattr(hasher, "verify", verify)
            await action()
            return fits

        monkeypatch.setattr(hasher, "verify", slow_verify)

    return arrange


async def _added(client: httpx.AsyncClient, owner: dict[str, Any], name: str) -> dict[str, Any]:
    body = {"name": name, "email": f"{name}-{owner['user']['id']}@example.com", "password": PASSWORD, "role": "admin"}
    added: dict[str, Any] = (await client.post("/v1/users", json=body, headers=owner["headers"])).json()
    return added


async def test_a_login_does_not_bring_back_a_user_who_is_deactivated_meanwhile(
    client: httpx.AsyncClient, register: Any, while_hashing: Callable[..., None]
) -> None:
    owner = await register()
    admin = await _added(client, owner, "leaver")
    path = f"/v1/users/{admin['id']}"
    while_hashing(lambda: client.delete(path, headers=owner["headers"]))
    assert (await _login(client, admin["email"], PASSWORD)).status_code == 401
    assert (await client.get(path, headers=owner["headers"])).json()["status"] == "deactivated"


async def test_a_login_does_not_give_back_a_role_that_is_taken_meanwhile(
    client: httpx.AsyncClient, register: Any, while_hashing: Callable[..., None]
) -> None:
    owner = await register()
    admin = await _added(client, owner, "demoted")
    path = f"/v1/users/{admin['id']}"
    while_hashing(lambda: client.patch(path, json={"role": "viewer"}, headers=owner["headers"]))
    answer = await _login(client, admin["email"], PASSWORD)
    assert (answer.status_code, answer.json()["user"]["role"]) == (200, "viewer")
    assert (await client.get(path, headers=owner["headers"])).json()["role"] == "viewer"


async def test_a_new_password_does_not_undo_a_demotion(
    client: httpx.AsyncClient, register: Any, while_hashing: Callable[..., None]
) -> None:
    owner = await register()
    admin = await _added(client, owner, "changer")
    tokens = (await _login(client, admin["email"], PASSWORD)).json()
    path = f"/v1/users/{admin['id']}"
    while_hashing(lambda: client.patch(path, json={"role": "viewer"}, headers=owner["headers"]))
    body = {"current_password": PASSWORD, "new_password": "quite another sentence"}
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.post("/v1/auth/password", json=body, headers=headers)).status_code == 204
    assert (await client.get(path, headers=owner["headers"])).json()["role"] == "viewer"


async def test_changing_a_user_does_not_undo_a_new_password(client: httpx.AsyncClient, register: Any) -> None:
    owner = await register()
    admin = await _added(client, owner, "renamed")
    tokens = (await _login(client, admin["email"], PASSWORD)).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    passwords = [PASSWORD, *(f"sentence number {number} of mine" for number in range(6))]

    async def change_passwords() -> None:
        for current, new in pairwise(passwords):
            body = {"current_password": current, "new_password": new}
            assert (await client.post("/v1/auth/password", json=body, headers=headers)).status_code == 204

    async def rename(done: asyncio.Task[None]) -> None:
        while not done.done():
            await client.patch(f"/v1/users/{admin['id']}", json={"name": "x"}, headers=owner["headers"])

    changing = asyncio.create_task(change_passwords())
    await asyncio.gather(changing, rename(changing))
    assert (await _login(client, admin["email"], passwords[-1])).status_code == 200


async def test_two_owners_who_remove_each_other_leave_one(client: httpx.AsyncClient, register: Any) -> None:
    for _ in range(3):
        first = await register()
        body = {"name": "Two", "email": f"two-{first['user']['id']}@example.com", "password": PASSWORD, "role": "owner"}
        second = (await client.post("/v1/users", json=body, headers=first["headers"])).json()
        tokens = (await _login(client, second["email"], PASSWORD)).json()
        second_headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        answers = await asyncio.gather(
            client.delete(f"/v1/users/{second['id']}", headers=first["headers"]),
            client.delete(f"/v1/users/{first['user']['id']}", headers=second_headers),
        )
        assert sorted(answer.status_code for answer in answers) == [204, 403], "who comes second is no owner any more"


async def test_guesses_at_the_same_time_do_not_pass_the_limit_together(
    client: httpx.AsyncClient, settings: Settings, register: Any
) -> None:
    email = (await register())["user"]["email"]
    answers = await asyncio.gather(*(_login(client, email, WRONG) for _ in range(20)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [401] * settings.login_attempts + [429] * (20 - settings.login_attempts)


async def test_a_stranger_keeps_nobody_out_of_where_they_signed_in_before(
    client: httpx.AsyncClient, register: Any
) -> None:
    email = (await register())["user"]["email"]
    assert (await _login(client, email, PASSWORD, "203.0.113.1")).status_code == 200
    for _ in range(5):
        await _login(client, email, WRONG, "198.51.100.7")
    assert (await _login(client, email, PASSWORD, "198.51.100.7")).status_code == 429
    assert (await _login(client, email, PASSWORD, "192.0.2.5")).status_code == 429, "the account counts everywhere"
    assert (await _login(client, email, PASSWORD, "203.0.113.1")).status_code == 200
    for _ in range(4):
        limited = await _login(client, email, WRONG, "203.0.113.1")
    assert limited.status_code == 429, "the known address has a limit too"


async def test_addresses_of_one_ipv6_customer_are_counted_together(settings: Settings, register: Any) -> None:
    async with bootstrap(settings.model_copy(update={"login_attempts_per_address": 3})) as opened:
        transport = httpx.ASGITransport(build_app(opened))
        async with httpx.AsyncClient(transport=transport, base_url="http://auth") as http:
            answers = [await _login(http, f"a{n}@example.com", WRONG, f"2001:db8:7:7::{n}") for n in range(1, 6)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]


async def test_whoever_found_an_open_session_cannot_guess_the_password(
    client: httpx.AsyncClient, register: Any
) -> None:
    owner = await register()
    body = {"current_password": WRONG, "new_password": "quite another sentence"}
    answers = [await client.post("/v1/auth/password", json=body, headers=owner["headers"]) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
