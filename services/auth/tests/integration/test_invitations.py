"""Invitations, handing an organisation over, and what must not come of either."""

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
from posthorn_auth.settings import Settings

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"


def _an_address() -> str:
    return f"guest-{uuid4()}@example.com"


async def _invite(client: httpx.AsyncClient, headers: dict[str, str], email: str, role: str = "editor") -> Any:
    return await client.post("/v1/invitations", json={"email": email, "role": role}, headers=headers)


async def _accept(client: httpx.AsyncClient, token: str, name: str = "Grace") -> httpx.Response:
    return await client.post("/v1/auth/invitations/accept", json={"token": token, "name": name, "password": PASSWORD})


async def _sign_in(client: httpx.AsyncClient, email: str) -> dict[str, str]:
    answer = await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def _join(client: httpx.AsyncClient, headers: dict[str, str], token_of: Any, role: str) -> dict[str, Any]:
    email = _an_address()
    assert (await _invite(client, headers, email, role)).status_code == 201
    joined: dict[str, Any] = (await _accept(client, await token_of(email, MailPurpose.INVITATION))).json()
    return {**joined, "headers": await _sign_in(client, email)}


async def test_who_is_invited_joins_with_a_name_and_a_password(
    client: httpx.AsyncClient, register: Any, token_of: Any
) -> None:
    owner = await register()
    email = _an_address()
    invited = (await _invite(client, owner["headers"], email)).json()
    listed = (await client.get("/v1/invitations", headers=owner["headers"])).json()["items"]
    assert [(item["id"], item["email"], item["role"]) for item in listed] == [(invited["id"], email, "editor")]
    joined = await _accept(client, await token_of(email, MailPurpose.INVITATION))
    assert joined.status_code == 201
    assert (joined.json()["role"], joined.json()["email_verified"]) == ("editor", True)
    me = (await client.get("/v1/auth/me", headers=await _sign_in(client, email))).json()
    assert me["organisation"]["id"] == owner["organisation"]["id"]
    assert (await client.get("/v1/invitations", headers=owner["headers"])).json()["items"] == []


async def test_an_invitation_is_accepted_once_though_many_try_at_the_same_time(
    client: httpx.AsyncClient, register: Any, token_of: Any
) -> None:
    owner = await register()
    email = _an_address()
    await _invite(client, owner["headers"], email)
    token = await token_of(email, MailPurpose.INVITATION)
    answers = await asyncio.gather(*(_accept(client, token, f"Guest {n}") for n in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400, 400]


@pytest.mark.parametrize("end", ["revoked", "expired", "resent", "another organisation's"])
async def test_an_invitation_that_is_over_lets_nobody_in(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any, age_mails: Any, end: str
) -> None:
    owner, stranger = await register(), await register()
    email = _an_address()
    invited = (await _invite(client, owner["headers"], email)).json()
    token = await token_of(email, MailPurpose.INVITATION)
    path = f"/v1/invitations/{invited['id']}"
    if end == "revoked":
        assert (await client.delete(path, headers=owner["headers"])).status_code == 204
        assert (await client.delete(path, headers=owner["headers"])).status_code == 404
    elif end == "expired":
        await age_mails(timedelta(days=8))
    elif end == "resent":
        limited = await client.post(f"{path}/resend", headers=owner["headers"])
        assert (limited.status_code, int(limited.headers["retry-after"]) <= 60) == (429, True)
        await age_mails(timedelta(seconds=60))
        assert (await client.post(f"{path}/resend", headers=owner["headers"])).status_code == 200
        assert await token_of(email, MailPurpose.INVITATION) != token
    else:
        assert (await client.delete(path, headers=stranger["headers"])).status_code == 404
        assert (await client.post(f"{path}/resend", headers=stranger["headers"])).status_code == 404
        assert (await client.get("/v1/invitations", headers=stranger["headers"])).json()["items"] == []
        token = "made-up" + token[7:]
    refused = await _accept(client, token)
    assert (refused.status_code, refused.json()["code"]) == (400, "link_not_valid")


async def test_an_address_has_one_open_invitation_of_an_organisation(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner, other = await register(), await register()
    email = _an_address()
    answers = await asyncio.gather(*(_invite(client, owner["headers"], email) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert (await _invite(client, other["headers"], email)).status_code == 201, "another organisation's are its own"
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE invitations SET expires_at = now() - interval '1 minute'"))
    assert (await _invite(client, owner["headers"], email)).status_code == 201, "one that has expired makes room"


async def test_nobody_learns_who_has_an_account_elsewhere(
    client: httpx.AsyncClient, register: Any, token_of: Any
) -> None:
    owner, elsewhere = await register(), await register()
    own = await _invite(client, owner["headers"], owner["user"]["email"])
    assert (own.status_code, own.json()["code"]) == (409, "email_taken")
    email = elsewhere["user"]["email"]
    assert (await _invite(client, owner["headers"], email)).status_code == 201
    taken = await _accept(client, await token_of(email, MailPurpose.INVITATION))
    assert (taken.status_code, taken.json()["code"]) == (409, "email_taken"), "their mail is read by them alone"


@pytest.mark.parametrize(
    ("actor", "role", "status"),
    [("owner", "owner", 201), ("admin", "owner", 403), ("admin", "admin", 201), ("editor", "viewer", 403)],
)
async def test_who_may_invite_whom(
    client: httpx.AsyncClient, register: Any, token_of: Any, actor: str, role: str, status: int
) -> None:
    owner = await register()
    headers = (
        owner["headers"] if actor == "owner" else (await _join(client, owner["headers"], token_of, actor))["headers"]
    )
    assert (await _invite(client, headers, _an_address(), role)).status_code == status


@pytest.mark.parametrize("change", [{"role": "admin"}, {"status": "deactivated"}])
async def test_whoever_lost_the_right_to_invite_takes_their_invitations_along(
    client: httpx.AsyncClient, register: Any, token_of: Any, change: dict[str, str]
) -> None:
    first = await register()
    second = await _join(client, first["headers"], token_of, "owner")
    email = _an_address()
    assert (await _invite(client, second["headers"], email, "owner")).status_code == 201
    token = await token_of(email, MailPurpose.INVITATION)
    path = f"/v1/users/{second['id']}"
    assert (await client.patch(path, json=change, headers=first["headers"])).status_code == 200
    assert (await _accept(client, token)).status_code == 400


async def test_an_owner_hands_the_organisation_over(client: httpx.AsyncClient, register: Any, token_of: Any) -> None:
    owner = await register()
    heir = await _join(client, owner["headers"], token_of, "editor")
    path = "/v1/organisation/transfer-ownership"
    body = {"user_id": heir["id"], "current_password": "wrong wrong wrong"}
    assert (await client.post(path, json=body, headers=owner["headers"])).status_code == 401
    body["current_password"] = PASSWORD
    assert (await client.post(path, json=body, headers=heir["headers"])).status_code == 403, "no owner"
    assert (await client.post(path, json=body, headers=owner["headers"])).json()["role"] == "owner"
    former = await _sign_in(client, owner["user"]["email"])
    roles = {user["id"]: user["role"] for user in (await client.get("/v1/users", headers=former)).json()["items"]}
    assert roles == {owner["user"]["id"]: "admin", heir["id"]: "owner"}
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": owner["refresh_token"]})
    assert refreshed.status_code == 401, "tokens with the old permissions are over"


async def test_an_organisation_is_handed_over_to_one_of_its_own_active_users(
    client: httpx.AsyncClient, register: Any, token_of: Any
) -> None:
    owner, stranger = await register(), await register()
    gone = await _join(client, owner["headers"], token_of, "viewer")
    await client.delete(f"/v1/users/{gone['id']}", headers=owner["headers"])
    for user_id, status in ((stranger["user"]["id"], 404), (gone["id"], 403), (owner["user"]["id"], 403)):
        body = {"user_id": user_id, "current_password": PASSWORD}
        answer = await client.post("/v1/organisation/transfer-ownership", json=body, headers=owner["headers"])
        assert answer.status_code == status


async def test_handing_over_and_deactivating_the_heir_at_once_leaves_an_owner(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    for _ in range(3):
        heir = await _join(client, owner["headers"], token_of, "editor")
        body = {"user_id": heir["id"], "current_password": PASSWORD}
        await asyncio.gather(
            client.post("/v1/organisation/transfer-ownership", json=body, headers=owner["headers"]),
            client.delete(f"/v1/users/{heir['id']}", headers=owner["headers"]),
        )
        async with container.engine.connect() as connection:
            query = sa.text(
                "SELECT count(*) FROM users WHERE organisation_id = :id AND role = 'owner' AND status = 'active'"
            )
            assert await connection.scalar(query, {"id": owner["organisation"]["id"]}) == 1
        owner = await register()


async def test_nobody_writes_to_any_number_of_strangers_through_us(
    client: httpx.AsyncClient, container: Container, register: Any, age_mails: Any, settings: Settings
) -> None:
    owner, other = await register(), await register()
    allowed = settings.mails_to_strangers_per_day
    answers = await asyncio.gather(*(_invite(client, owner["headers"], _an_address()) for _ in range(allowed + 2)))
    assert sorted(answer.status_code for answer in answers) == [201] * allowed + [429, 429]
    wish = {"new_email": _an_address(), "current_password": PASSWORD}
    limited = await client.post("/v1/auth/email", json=wish, headers=owner["headers"])
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")
    assert (await _invite(client, other["headers"], _an_address())).status_code == 201
    await age_mails(timedelta(days=1))
    assert (await _invite(client, owner["headers"], _an_address())).status_code == 201


async def test_a_mail_that_cannot_be_made_does_not_hold_up_the_others(
    client: httpx.AsyncClient, container: Container, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await register()
    emails = [_an_address() for _ in range(2)]
    for email in emails:
        await _invite(client, owner["headers"], email)
    tried: list[str] = []

    async def send(organisation_id: Any, mail_id: Any, to_email: str, subject: str, text: str) -> None:
        tried.append(to_email)
        if to_email == emails[0]:
            raise ValueError("a fault of ours")

    monkeypatch.setattr(container.sending_mails._mailer, "send", send)
    await container.sending_mails.send_due()
    assert set(emails) <= set(tried)
    async with container.engine.connect() as connection:
        query = sa.text("SELECT to_email FROM account_mails WHERE to_email = ANY(:emails) AND next_attempt_at > now()")
        assert list(await connection.scalars(query, {"emails": emails})) == [emails[0]], "it is tried again later"


async def test_invitations_that_nobody_can_accept_are_deleted_after_a_month(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    accepted, revoked, open_ = [(await _invite(client, owner["headers"], _an_address())).json() for _ in range(3)]
    assert (await _accept(client, await token_of(accepted["email"], MailPurpose.INVITATION))).status_code == 201
    assert (await client.delete(f"/v1/invitations/{revoked['id']}", headers=owner["headers"])).status_code == 204

    async def left_after(statement: str) -> set[str]:
        async with container.engine.begin() as connection:
            await connection.execute(sa.text(statement))
        await container.sending_mails.delete_old()
        await container.inviting.delete_old()
        query = sa.text("SELECT id FROM invitations WHERE organisation_id = :id")
        async with container.engine.connect() as connection:
            return {str(id_) for id_ in await connection.scalars(query, {"id": owner["organisation"]["id"]})}

    a_month = "interval '31 days'"
    ended = f"UPDATE invitations SET accepted_at = accepted_at - {a_month}, revoked_at = revoked_at - {a_month}"
    assert await left_after("SELECT 1") == {accepted["id"], revoked["id"], open_["id"]}
    assert await left_after(ended) == {accepted["id"], revoked["id"], open_["id"]}, "their mail is there yet"
    assert await left_after("UPDATE account_mails SET expires_at = now() - interval '31 days'") == {open_["id"]}
