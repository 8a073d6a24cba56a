"""Sign-in through a real OpenID Connect provider, a process of its own made with authlib's server side."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.adapters.oidc import HttpOidcClient
from posthorn_auth.bootstrap import Container
from posthorn_auth.domain.errors import IssuerNotUsable
from posthorn_local.ports import free_ports

pytestmark = pytest.mark.integration
PROGRAM = Path(__file__).parent / "oidc_provider.py"
REDIRECT_URI = "https://app.example.com/signed-in"
PATH = "/v1/organisation/identity-provider"
PASSWORD = "a long and private sentence"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A provider in a process of its own."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("provider") / "log"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(port)], stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/jwks", process, log)
        yield url
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


async def _set_up(client: httpx.AsyncClient, owner: dict[str, Any], issuer: str, **more: Any) -> httpx.Response:
    body = {
        "issuer": issuer,
        "client_id": "posthorn",
        "client_secret": "a secret & of the client",
        "redirect_uri": REDIRECT_URI,
        **more,
    }
    return await client.put(PATH, json=body, headers=owner["headers"])


async def _start(client: httpx.AsyncClient, owner: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post("/v1/auth/oidc/start", json={"organisation_id": owner["organisation"]["id"]})
    assert answer.status_code == 200, answer.text
    begun: dict[str, Any] = answer.json()
    return begun


async def _at_the_provider(begun: dict[str, Any], claims: dict[str, Any]) -> dict[str, str]:
    """Do what a browser does: sign in at the provider, and come back with what it says."""
    url = begun["authorization_url"] + "&" + urlencode({"login_hint": json.dumps(claims)})
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(url)
    assert answer.status_code == 302, answer.text
    location = urlsplit(answer.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == REDIRECT_URI
    returned = {name: values[0] for name, values in parse_qs(location.query).items()}
    return {"state": returned["state"], "code": returned["code"], "login_token": begun["login_token"]}


async def _complete(client: httpx.AsyncClient, body: dict[str, str]) -> httpx.Response:
    return await client.post("/v1/auth/oidc/complete", json=body)


async def _sign_in(client: httpx.AsyncClient, owner: dict[str, Any], claims: dict[str, Any]) -> httpx.Response:
    return await _complete(client, await _at_the_provider(await _start(client, owner), claims))


def _claims(email: str, **more: Any) -> dict[str, Any]:
    return {"sub": f"subject-{uuid4()}", "email": email, "email_verified": True, "name": "Grace Hopper", **more}


async def test_a_user_signs_in_through_the_provider_and_is_known_by_subject_afterwards(
    client: httpx.AsyncClient, register: Any, issuer: str
) -> None:
    owner = await register()
    shown = await _set_up(client, owner, issuer)
    assert (shown.status_code, "client_secret" in shown.json()) == (200, False)
    claims = _claims(owner["user"]["email"].upper())
    signed_in = await _sign_in(client, owner, claims)
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, owner["user"]["id"])
    headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    assert (await client.get("/v1/auth/me", headers=headers)).status_code == 200
    again = await _sign_in(client, owner, {"sub": claims["sub"]})
    assert again.json()["user"]["id"] == owner["user"]["id"], "another address there changes nothing here"


async def test_the_request_to_the_provider_carries_state_nonce_and_pkce(
    client: httpx.AsyncClient, container: Container, register: Any, issuer: str
) -> None:
    owner = await register()
    await _set_up(client, owner, issuer)
    first, second = [parse_qs(urlsplit((await _start(client, owner))["authorization_url"]).query) for _ in range(2)]
    assert (first["response_type"], first["code_challenge_method"]) == (["code"], ["S256"])
    assert {*first["scope"][0].split()} == {"openid", "email", "profile"}
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) >= 43
        assert first[name] != second[name]
    async with container.engine.connect() as connection:
        rows = list(await connection.scalars(sa.text("SELECT l::text FROM provider_logins l")))
    assert not any(first[name][0] in row for name in ("state", "nonce") for row in rows)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("expired", "ExpiredSignatureError"),
        ("another audience", "InvalidAudienceError"),
        ("another party", "issued to somebody else"),
        ("several audiences", "issued to somebody else"),
        ("another issuer", "InvalidIssuerError"),
        ("another nonce", "of another login"),
        ("another key", "InvalidSignatureError"),
        ("unknown key", "the key of the ID token is not known"),
        ("no signature", "not signed as it should be"),
        ("signed with the client secret", "not signed as it should be"),
        ("signed with the public key", "not signed as it should be"),
        ("a list of algorithms", "not signed as it should be"),
        ("no subject", "names nobody"),
        ("a subject that PostgreSQL cannot store", "names nobody"),
        ("a subject that is not ASCII", "names nobody"),
        ("a long subject", "names nobody"),
    ],
)
async def test_an_id_token_that_does_not_hold_lets_nobody_in(
    client: httpx.AsyncClient, register: Any, issuer: str, fault: str, reason: str
) -> None:
    owner = await register()
    await _set_up(client, owner, issuer)
    refused = await _sign_in(client, owner, _claims(owner["user"]["email"], fault=fault))
    assert (refused.status_code, refused.json()["code"]) == (401, "identity_provider_refused")
    assert reason in refused.json()["detail"]


async def test_what_came_back_is_good_for_one_attempt_and_one_browser(
    client: httpx.AsyncClient, container: Container, register: Any, issuer: str
) -> None:
    owner = await register()
    await _set_up(client, owner, issuer)
    claims = _claims(owner["user"]["email"])
    body = await _at_the_provider(await _start(client, owner), claims)
    answers = await asyncio.gather(*(_complete(client, body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    attackers = await _start(client, owner)
    stolen = {**await _at_the_provider(attackers, claims), "login_token": (await _start(client, owner))["login_token"]}
    assert (await _complete(client, stolen)).json()["code"] == "login_not_known", "another's browser"
    stolen["login_token"] = attackers["login_token"]
    assert (await _complete(client, stolen)).status_code == 400, "and then it is used up"
    mixed_up = {**await _at_the_provider(await _start(client, owner), claims), "iss": "https://attacker.example"}
    assert (await _complete(client, mixed_up)).status_code == 400
    late = await _at_the_provider(await _start(client, owner), claims)
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE provider_logins SET expires_at = now()"))
    assert (await _complete(client, late)).status_code == 400


async def test_a_code_of_another_login_is_refused_by_pkce(
    client: httpx.AsyncClient, register: Any, issuer: str
) -> None:
    owner = await register()
    await _set_up(client, owner, issuer)
    claims = _claims(owner["user"]["email"])
    victims = await _at_the_provider(await _start(client, owner), claims)
    attackers = await _at_the_provider(await _start(client, owner), claims)
    injected = await _complete(client, {**attackers, "code": victims["code"]})
    assert (injected.status_code, injected.json()["code"]) == (401, "identity_provider_refused")


async def test_strangers_join_only_where_the_owner_says_so(
    client: httpx.AsyncClient, register: Any, issuer: str
) -> None:
    owner, elsewhere = await register(), await register()
    await _set_up(client, owner, issuer)
    email = f"new-{uuid4()}@example.com"
    refused = await _sign_in(client, owner, _claims(email))
    assert (refused.status_code, refused.json()["code"]) == (403, "no_account_here")
    await _set_up(client, owner, issuer, auto_role="viewer")
    joined = await _sign_in(client, owner, _claims(email, name="Grace\u0000\n Hopper"))
    assert (joined.status_code, joined.json()["user"]["role"]) == (200, "viewer")
    assert (joined.json()["user"]["name"], joined.json()["user"]["email_verified"]) == ("Grace Hopper", True)
    for claims in (
        _claims(f"new-{uuid4()}@example.com", email_verified=False),
        _claims(f"new-{uuid4()}@example.com", email_verified="true"),
        {"sub": "without an address"},
        _claims("not an address"),
        _claims(elsewhere["user"]["email"]),
    ):
        refused = await _sign_in(client, owner, claims)
        assert (refused.status_code, refused.json()["code"]) == (403, "no_account_here")
    assert (await _set_up(client, owner, issuer, auto_role="owner")).status_code == 422


async def test_whoever_is_deactivated_stays_out(client: httpx.AsyncClient, register: Any, issuer: str) -> None:
    owner = await register()
    await _set_up(client, owner, issuer, auto_role="editor")
    claims = _claims(f"new-{uuid4()}@example.com")
    joined = (await _sign_in(client, owner, claims)).json()
    await client.delete(f"/v1/users/{joined['user']['id']}", headers=owner["headers"])
    assert (await _sign_in(client, owner, claims)).status_code == 403


async def test_the_provider_of_one_organisation_knows_nobody_of_another(
    client: httpx.AsyncClient, register: Any, issuer: str
) -> None:
    owner, other = await register(), await register()
    for organisation in (owner, other):
        await _set_up(client, organisation, issuer)
    claims = _claims(owner["user"]["email"])
    assert (await _sign_in(client, owner, claims)).status_code == 200
    assert (await _sign_in(client, other, claims)).status_code == 403


async def test_only_owners_say_where_users_sign_in(client: httpx.AsyncClient, register: Any, issuer: str) -> None:
    owner = await register()
    email = f"admin-{uuid4()}@example.com"
    body = {"name": "Admin", "email": email, "password": PASSWORD, "role": "admin"}
    await client.post("/v1/users", json=body, headers=owner["headers"])
    login = (await client.post("/v1/auth/login", json={"email": email, "password": PASSWORD})).json()
    admin = {"headers": {"Authorization": f"Bearer {login['access_token']}"}}
    assert (await _set_up(client, admin, issuer)).status_code == 403
    start = {"organisation_id": owner["organisation"]["id"]}
    assert (await client.post("/v1/auth/oidc/start", json=start)).status_code == 404
    await _set_up(client, owner, issuer)
    body = await _at_the_provider(await _start(client, owner), _claims(owner["user"]["email"]))
    assert (await client.delete(PATH, headers=owner["headers"])).status_code == 204
    assert (await client.get(PATH, headers=owner["headers"])).status_code == 404
    assert (await _complete(client, body)).status_code == 400, "removed while somebody was there"


@pytest.mark.parametrize(
    "address",
    [
        "{issuer}/imposter",
        "{issuer}/",
        "http://127.0.0.1:9",
        "http://[",
        "http://127.0.0.1:99999",
        f"http://{'a' * 70}.example",
    ],
)
async def test_an_issuer_that_is_none_is_not_stored(
    client: httpx.AsyncClient, register: Any, issuer: str, address: str
) -> None:
    refused = await _set_up(client, await register(), address.format(issuer=issuer))
    assert (refused.status_code, refused.json()["code"]) == (422, "issuer_not_usable")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://login.example.com", "https://"),
        ("https://127.0.0.1", "private network"),
        ("https://169.254.169.254", "private network"),
        ("https://[::ffff:10.0.0.1]", "private network"),
        ("https://[64:ff9b::a9fe:a9fe]", "private network"),
        ("https://[fec0::1]", "private network"),
    ],
)
async def test_in_production_nobody_looks_into_our_network_through_an_issuer(address: str, reason: str) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(IssuerNotUsable, match=reason):
            await HttpOidcClient(http, allow_private=False).check(address)


async def test_a_client_secret_is_not_stored_in_clear(
    client: httpx.AsyncClient, container: Container, register: Any, issuer: str
) -> None:
    await _set_up(client, await register(), issuer)
    async with container.engine.connect() as connection:
        sealed = list(await connection.scalars(sa.text("SELECT sealed_client_secret FROM identity_providers")))
    assert sealed
    assert not any(b"of the client" in secret for secret in sealed)
