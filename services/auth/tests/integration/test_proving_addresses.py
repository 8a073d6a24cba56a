"""Links in mail: confirm an address, change it, choose a new password. Each once, for a while, for its user."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container
from posthorn_auth.domain.mails import MailPurpose

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"
NEW = "quite another sentence"


async def _confirm(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/v1/auth/email/confirm", json={"token": token})


async def _login(client: httpx.AsyncClient, email: str, password: str, address: str = "192.0.2.1") -> int:
    body = {"email": email, "password": password}
    headers = {"X-Forwarded-For": address}
    return (await client.post("/v1/auth/login", json=body, headers=headers)).status_code


async def _ask_reset(client: httpx.AsyncClient, container: Container, email: str) -> httpx.Response:
    """Ask, and let the sender look for due mails. There is no mailer: the mail waits."""
    answer = await client.post("/v1/auth/password-reset", json={"email": email})
    await container.sending_mails.send_due()
    return answer


async def _reset(client: httpx.AsyncClient, token: str, password: str = NEW, address: str = "192.0.2.1") -> Any:
    body = {"token": token, "new_password": password}
    headers = {"X-Forwarded-For": address}
    return await client.post("/v1/auth/password-reset/complete", json=body, headers=headers)


async def _mails(container: Container, email: str, purpose: str) -> int:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM account_mails WHERE to_email = :email AND purpose = :purpose")
        return int(await connection.scalar(query, {"email": email, "purpose": purpose}) or 0)


async def test_an_address_is_confirmed_by_the_link_sent_to_it(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    email = owner["user"]["email"]
    assert owner["user"]["email_verified"] is False
    for _ in range(2):
        assert (await client.post("/v1/auth/email/verification", headers=owner["headers"])).status_code == 202
    assert await _mails(container, email, "verify_email") == 1, "nobody is flooded with mail"
    token = await token_of(email, MailPurpose.VERIFY_EMAIL)
    assert (await _confirm(client, token)).json()["email_verified"] is True
    again = await _confirm(client, token)
    assert (again.status_code, again.json()["code"]) == (400, "link_not_valid")


async def test_a_link_works_once_though_many_open_it_at_the_same_time(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    email = (await register())["user"]["email"]
    await _ask_reset(client, container, email)
    token = await token_of(email, MailPurpose.RESET_PASSWORD)
    passwords = [f"sentence number {number} of mine" for number in range(4)]
    answers = await asyncio.gather(*(_reset(client, token, password) for password in passwords))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]
    # Whoever was first has set it; asked first, as three wrong ones would lock the account for a while.
    winner = [answer.status_code for answer in answers].index(204)
    assert await _login(client, email, passwords.pop(winner)) == 200
    assert [await _login(client, email, password) for password in passwords] == [401, 401, 401]


async def test_a_forgotten_password_is_replaced_and_every_session_ends(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    email = owner["user"]["email"]
    await _ask_reset(client, container, email)
    token = await token_of(email, MailPurpose.RESET_PASSWORD)
    weak = await _reset(client, token, "password12345")
    assert (weak.status_code, weak.json()["code"]) == (422, "weak_password")
    assert (await _reset(client, token)).status_code == 204, "a weak password has not used the link up"
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": owner["refresh_token"]})
    assert refreshed.status_code == 401
    assert await _login(client, email, PASSWORD) == 401
    assert await _login(client, email, NEW) == 200
    assert await _mails(container, email, "password_changed") == 1


async def test_asking_for_a_reset_tells_nobody_who_has_an_account(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    email = (await register())["user"]["email"]
    statements: list[list[str]] = []
    for address in (email, f"nobody-{uuid4()}@example.com"):
        seen: list[str] = []
        listener = lambda _c, _cur, statement, *_: seen.append(statement)  # noqa: B023, E731
        sa.event.listen(container.engine.sync_engine, "before_cursor_execute", listener)
        answer = await client.post("/v1/auth/password-reset", json={"email": address})
        sa.event.remove(container.engine.sync_engine, "before_cursor_execute", listener)
        statements.append(seen)
        assert (answer.status_code, answer.text) == (202, "null")
    assert statements[0] == statements[1] != [], "the same work for both"
    await container.sending_mails.send_due()
    async with container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM account_mails WHERE organisation_id IS NULL")
        assert await connection.scalar(query) == 0, "what is for nobody is forgotten"


async def test_whoever_asks_a_hundred_times_sends_one_mail_that_always_works(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any, age_mails: Any
) -> None:
    email = (await register())["user"]["email"]
    await asyncio.gather(*(client.post("/v1/auth/password-reset", json={"email": email}) for _ in range(10)))
    for _ in range(5):
        await _ask_reset(client, container, email)
    assert await _mails(container, email, "reset_password") == 1
    async with container.engine.begin() as connection:
        sent = sa.text("UPDATE account_mails SET next_attempt_at = NULL, expires_at = now() + interval '30 minutes'")
        await connection.execute(sent)
    await age_mails(timedelta(minutes=14))
    await _ask_reset(client, container, email)
    assert await _mails(container, email, "reset_password") == 1
    await age_mails(timedelta(minutes=2))
    await _ask_reset(client, container, email)
    assert await _mails(container, email, "reset_password") == 2, "the first link would not work for long"
    assert (await _reset(client, await token_of(email, MailPurpose.RESET_PASSWORD))).status_code == 204


async def test_a_stranger_cannot_lock_out_for_ever_who_reads_their_mail(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    email = (await register())["user"]["email"]
    for number in range(5):
        await _login(client, email, "wrong wrong wrong", f"198.51.100.{number}")
    assert await _login(client, email, PASSWORD, "203.0.113.9") == 429
    await _ask_reset(client, container, email)
    reset = await _reset(client, await token_of(email, MailPurpose.RESET_PASSWORD), address="203.0.113.9")
    assert reset.status_code == 204
    for number in range(5):
        await _login(client, email, "wrong wrong wrong", f"198.51.100.{number}")
    assert await _login(client, email, NEW, "203.0.113.9") == 200, "the address is known for the account now"


@pytest.mark.parametrize(
    "end", ["expired", "deactivated", "password changed", "address changed", "for another purpose"]
)
async def test_a_link_that_is_over_resets_nothing(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any, age_mails: Any, end: str
) -> None:
    owner = await register()
    email = f"member-{uuid4()}@example.com"
    body = {"name": "Member", "email": email, "password": PASSWORD, "role": "owner"}
    member = (await client.post("/v1/users", json=body, headers=owner["headers"])).json()
    login = (await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})).json()
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    await _ask_reset(client, container, email)
    token = await token_of(email, MailPurpose.RESET_PASSWORD)
    if end == "expired":
        await age_mails(timedelta(days=1))
    elif end == "deactivated":
        await client.delete(f"/v1/users/{member['id']}", headers=owner["headers"])
    elif end == "password changed":
        change = {"current_password": PASSWORD, "new_password": "yet another long sentence"}
        assert (await client.post("/v1/auth/password", json=change, headers=headers)).status_code == 204
    elif end == "address changed":
        new_email = f"moved-{uuid4()}@example.com"
        await client.post(
            "/v1/auth/email", json={"new_email": new_email, "current_password": PASSWORD}, headers=headers
        )
        assert (await _confirm(client, await token_of(new_email, MailPurpose.CHANGE_EMAIL))).status_code == 200
    else:
        await client.post("/v1/auth/email/verification", headers=headers)
        token = await token_of(email, MailPurpose.VERIFY_EMAIL)
    assert (await _reset(client, token)).status_code == 400


async def test_a_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    old, new = owner["user"]["email"], f"moved-{uuid4()}@example.com"
    body = {"new_email": new, "current_password": "wrong wrong wrong"}
    assert (await client.post("/v1/auth/email", json=body, headers=owner["headers"])).status_code == 401
    body["current_password"] = PASSWORD
    assert (await client.post("/v1/auth/email", json=body, headers=owner["headers"])).status_code == 202
    assert await _mails(container, old, "email_change_requested") == 1
    assert await _login(client, new, PASSWORD) == 401
    confirmed = await _confirm(client, await token_of(new, MailPurpose.CHANGE_EMAIL))
    assert (confirmed.json()["email"], confirmed.json()["email_verified"]) == (new, True)
    assert [await _login(client, old, PASSWORD), await _login(client, new, PASSWORD)] == [401, 200]
    assert await _mails(container, old, "email_changed") == 1


async def test_an_address_that_somebody_has_is_told_only_to_who_reads_its_mail(
    client: httpx.AsyncClient, register: Any, token_of: Any
) -> None:
    owner, other = await register(), await register()
    taken = other["user"]["email"]
    body = {"new_email": taken, "current_password": PASSWORD}
    assert (await client.post("/v1/auth/email", json=body, headers=owner["headers"])).status_code == 202
    token = await token_of(taken, MailPurpose.CHANGE_EMAIL)
    for _ in range(2):
        refused = await _confirm(client, token)
        assert (refused.status_code, refused.json()["code"]) == (409, "email_taken")


async def test_a_newer_wish_replaces_the_one_before(client: httpx.AsyncClient, register: Any, token_of: Any) -> None:
    owner = await register()
    addresses = [f"moved-{uuid4()}@example.com" for _ in range(2)]
    for address in addresses:
        body = {"new_email": address, "current_password": PASSWORD}
        await client.post("/v1/auth/email", json=body, headers=owner["headers"])
    first, second = [await token_of(address, MailPurpose.CHANGE_EMAIL) for address in addresses]
    assert (await _confirm(client, first)).status_code == 400
    assert (await _confirm(client, second)).status_code == 200


async def test_no_token_is_stored(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    email = (await register())["user"]["email"]
    await _ask_reset(client, container, email)
    token = await token_of(email, MailPurpose.RESET_PASSWORD)
    async with container.engine.connect() as connection:
        rows = list(await connection.scalars(sa.text("SELECT m::text FROM account_mails m")))
        rows += list(await connection.scalars(sa.text("SELECT body FROM outbox")))
    assert rows
    assert not any(token in row for row in rows)


async def test_mail_that_the_mailer_did_not_take_in_time_waits_no_longer(
    client: httpx.AsyncClient, container: Container, register: Any, age_mails: Any
) -> None:
    async def waiting(person: dict[str, Any]) -> list[bool]:
        query = sa.text("SELECT next_attempt_at IS NOT NULL FROM account_mails WHERE user_id = :id")
        async with container.engine.connect() as connection:
            return list(await connection.scalars(query, {"id": person["user"]["id"]}))

    late, early = await register(), await register()
    assert (await client.post("/v1/auth/email/verification", headers=late["headers"])).status_code == 202
    await age_mails(timedelta(days=3, seconds=1))
    assert (await client.post("/v1/auth/email/verification", headers=early["headers"])).status_code == 202
    await container.sending_mails.delete_old()
    assert (await waiting(late), await waiting(early)) == ([False], [True])
    assert (await client.post("/v1/auth/email/verification", headers=late["headers"])).status_code == 202
    assert sorted(await waiting(late)) == [False, True], "and the next one can be asked for"


async def test_the_pages_behind_links_run_only_their_own_script(client: httpx.AsyncClient) -> None:
    for page in ("confirm-email", "reset-password", "accept-invitation"):
        answer = await client.get(f"/account/{page}")
        policy = answer.headers["content-security-policy"]
        assert (answer.status_code, "unsafe" in policy, "default-src 'none'" in policy) == (200, False, True)
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
        assert f'data-page="{page}"' in answer.text
    assert (await client.get("/account/other")).status_code == 422
