"""Sending domains through the API and a real DNS server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
import uvloop

from posthorn_common.secretbox import SecretBox, SecretUnreadable
from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.db.tables import dkim_keys
from posthorn_mailer.adapters.dkim import load_key
from posthorn_mailer.adapters.dns import ResolverDns
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain.sending_domains import MAX_DOMAINS, key_purpose
from posthorn_mailer.settings import Settings

from .dns_server import DnsServer, dns_server
from .domain_support import KEY, NAME, Owner, results, states

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def dns() -> AsyncGenerator[DnsServer]:
    async with dns_server() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, dns: DnsServer) -> Settings:
    return settings.model_copy(update={"dns_server": f"127.0.0.1:{dns.port}"})


@pytest.fixture
def owner(client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer) -> Owner:
    return Owner(client, mint, dns, uuid4())


async def test_a_new_domain_shows_the_records_to_publish(owner: Owner) -> None:
    created = await owner.create(" News.Example.com ")
    assert (created["domain"], created["status"], states(created)) == (
        "news.example.com",
        "unverified",
        ["pending", "pending"],
    )
    assert [key["algorithm"] for key in created["keys"]] == ["rsa-sha256", "ed25519-sha256"]
    rsa, ed25519, spf, dmarc = created["records"]
    for record, key, kind in ((rsa, created["keys"][0], "rsa"), (ed25519, created["keys"][1], "ed25519")):
        assert record["name"] == f"{key['selector']}._domainkey.news.example.com"
        assert record["value"].startswith(f"v=DKIM1; k={kind}; p=")
        assert (record["type"], record["required"], record["key_id"]) == ("TXT", True, key["id"])
        assert "".join(record["strings"]) == record["value"]
        assert max(map(len, record["strings"])) <= 255
    assert len(rsa["strings"]) == 2
    assert (spf["name"], spf["required"], dmarc["name"]) == ("news.example.com", False, "_dmarc.news.example.com")
    assert await owner.call("GET", f"/{created['id']}") == created
    assert (await owner.call("GET", ""))["items"] == [created]


async def test_private_keys_are_sealed_and_never_shown(owner: Owner, container: Container, capsys: Any) -> None:
    domain = await owner.verified()
    await owner.act(domain, "rotate-keys")
    shown = str([await owner.call("GET", f"/{domain['id']}"), await owner.call("GET", ""), capsys.readouterr()])
    async with container.engine.connect() as connection:
        rows = (await connection.execute(sa.select(dkim_keys).where(dkim_keys.c.organisation_id == owner.id))).all()
    assert len(rows) == 4
    box = SecretBox(KEY)
    for row in rows:
        private = box.open(row.sealed_private_key, purpose=key_purpose(row.id))
        assert load_key(private)
        assert private[:16] not in row.sealed_private_key
        assert base64.b64encode(private).decode() not in shown
        assert base64.b64encode(private[-32:]).decode() not in shown
        with pytest.raises(SecretUnreadable):
            box.open(row.sealed_private_key, purpose=key_purpose(uuid4()))


@pytest.mark.parametrize(
    "name",
    ["", " ", "example", "-a.example", "a..example", "a_b.example", "127.0.0.1", "[127.0.0.1]", "b@c.example",
     "a b.example", "a.example\r\nx", "x" * 64 + ".example", "a." * 126 + "example", "a.example;",
     "*.example.com", "\0.example"],
)  # fmt: skip
async def test_what_is_no_domain_is_refused(owner: Owner, name: str) -> None:
    refused = await owner.call("POST", "", 422, {"domain": name})
    assert refused["errors"][0]["location"] == "body.domain"


async def test_an_international_domain_is_kept_in_ascii(owner: Owner) -> None:
    assert (await owner.create("Bücher.example"))["domain"] == "xn--bcher-kva.example"
    assert (await owner.call("POST", "", 409, {"domain": "xn--bcher-kva.example"}))["code"] == "domain_exists"


async def test_a_domain_is_unique_in_an_organisation_and_only_there(
    owner: Owner, client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer
) -> None:
    other = Owner(client, mint, dns, uuid4())
    made = await asyncio.gather(
        *(client.post("/v1/domains", json={"domain": NAME}, headers=owner.headers) for _ in range(3))
    )
    assert sorted(answer.status_code for answer in made) == [201, 409, 409]
    mine, (first,) = await other.create(), (await owner.call("GET", ""))["items"]
    selectors = {key["selector"] for key in mine["keys"] + first["keys"]}
    assert len(selectors) == 4


async def test_another_organisations_domain_does_not_exist(
    owner: Owner, client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer
) -> None:
    domain, stranger = await owner.create(), Owner(client, mint, dns, uuid4())
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/actions/verify"),
        ("POST", "/actions/rotate-keys"),
        ("POST", "/actions/retire-keys"),
    ):
        refused = await stranger.call(method, f"/{domain['id']}{path}", 404)
        assert refused["code"] == "domain_not_found"
    assert (await stranger.call("GET", ""))["items"] == []
    assert await owner.call("GET", f"/{domain['id']}") == domain


async def test_editors_look_and_only_admins_change(owner: Owner, client: httpx.AsyncClient, mint: TokenMint) -> None:
    domain = await owner.create()

    def as_(role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {mint.access_token(owner.id, ROLE_PERMISSIONS[role])}"}

    path = f"/v1/domains/{domain['id']}"
    assert (await client.get(path, headers=as_(Role.VIEWER))).status_code == 403
    assert (await client.get(path, headers=as_(Role.EDITOR))).status_code == 200
    assert (await client.post(f"{path}/actions/verify", headers=as_(Role.EDITOR))).status_code == 403
    assert (await client.delete(path, headers=as_(Role.EDITOR))).status_code == 403
    assert (await client.delete(path, headers=as_(Role.ADMIN))).status_code == 204


async def test_domains_are_listed_in_pages(owner: Owner) -> None:
    made = [(await owner.create(f"n{number}.example"))["domain"] for number in range(3)]
    first = await owner.call("GET", "?limit=2")
    rest = await owner.call("GET", f"?limit=2&cursor={first['next_cursor']}")
    assert [one["domain"] for one in first["items"] + rest["items"]] == made
    assert rest["next_cursor"] is None


async def test_an_organisation_has_so_many_domains_and_no_more(owner: Owner, container: Container) -> None:
    await owner.create()
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text(
                "INSERT INTO sending_domains (id, organisation_id, name, created_at) "
                "SELECT gen_random_uuid(), :id, 'n' || number || '.example', now() "
                "FROM generate_series(2, :most) AS number"
            ),
            {"id": owner.id, "most": MAX_DOMAINS},
        )
    assert (await owner.call("POST", "", 409, {"domain": "more.example"}))["code"] == "too_many_domains"


# The DNS.


async def test_each_record_is_looked_up_and_judged_by_itself(owner: Owner, dns: DnsServer) -> None:
    domain = await owner.create(f"news.{NAME}")
    missing = await owner.act(domain, "verify")
    assert set(results(missing).values()) == {"missing"}
    assert missing["domain"]["status"] == "unverified"
    assert missing["domain"]["checked_at"] is not None
    rsa, ed25519, spf, _dmarc = domain["records"]
    dns.zone[rsa["name"]] = [rsa["strings"]]
    dns.zone[ed25519["name"]] = [["v=DKIM1; k=ed25519; p=", "AAAA"]]
    dns.zone[spf["name"]] = [["v=spf1 -all"], ["google-site-verification=x"]]
    dns.zone[f"_dmarc.{NAME}"] = [["v=DMARC1; p=reject"]]
    some = await owner.act(domain, "verify")
    assert results(some) == {"rsa-sha256": "found", "ed25519-sha256": "different", "spf": "found", "dmarc": "found"}
    assert next(one["found"] for one in some["checks"] if one["key_id"] == ed25519["key_id"]) == [
        "v=DKIM1; k=ed25519; p=AAAA"
    ]
    assert next(one["found"] for one in some["checks"] if one["purpose"] == "spf") == ["v=spf1 -all"]
    assert (some["domain"]["status"], states(some["domain"])) == ("verified", ["signing", "pending"])
    dns.zone[spf["name"]] += [["v=spf1 ~all"]]
    dns.zone[rsa["name"]] += [["v=DKIM1; p="]]
    assert results(await owner.act(domain, "verify")) == {
        "rsa-sha256": "different",
        "ed25519-sha256": "different",
        "spf": "different",
        "dmarc": "found",
    }
    assert (await owner.call("GET", f"/{domain['id']}"))["status"] == "unverified"


async def test_a_dns_that_does_not_answer_changes_nothing(owner: Owner, dns: DnsServer) -> None:
    domain = await owner.verified()
    names = [record["name"] for record in domain["records"]]
    dns.silent, dns.broken = {names[0]}, {names[1]}
    check = await owner.act(domain, "verify")
    assert (results(check)["rsa-sha256"], results(check)["ed25519-sha256"]) == ("unknown", "unknown")
    assert (check["domain"]["status"], states(check["domain"])) == ("verified", ["signing", "signing"])
    assert [key["verified_at"] for key in check["domain"]["keys"]] == [key["verified_at"] for key in domain["keys"]]


def test_a_dns_server_is_an_address_with_or_without_a_port() -> None:
    for server in ("127.0.0.1", "127.0.0.1:5353", "[::1]", "[::1]:5353", None):
        ResolverDns(server)
    for server in ("127.0.0.1:99999", "999.1.1.1", "dns.example", ""):
        with pytest.raises(ValueError, match=r"."):
            ResolverDns(server)


def test_the_dns_is_asked_in_the_loop_that_services_run_in() -> None:
    async def ask() -> list[list[str]]:
        async with dns_server() as server:
            server.zone["a.example"] = [["one ", 'and "two"'], ["three"]]
            texts = ResolverDns(f"127.0.0.1:{server.port}")
            return [sorted(await texts.texts("a.example")), await texts.texts("b.example")]

    assert uvloop.run(ask()) == [['one and "two"', "three"], []]


async def test_new_keys_take_over_when_they_are_published_and_old_ones_are_retired(owner: Owner) -> None:
    domain = await owner.create()
    assert (await owner.act(domain, "rotate-keys", 409))["code"] == "keys_not_verified"
    owner.publish(domain, "dkim")
    await owner.act(domain, "verify")
    rotated = await owner.act(domain, "rotate-keys")
    assert states(rotated) == ["signing", "signing", "pending", "pending"]
    assert len({key["selector"] for key in rotated["keys"]}) == 4
    assert states(await owner.act(domain, "retire-keys")) == states(rotated)
    assert (await owner.act(domain, "rotate-keys", 409))["code"] == "keys_not_verified"
    owner.publish(rotated, "dkim")
    checked = (await owner.act(domain, "verify"))["domain"]
    assert states(checked) == ["superseded", "superseded", "signing", "signing"]
    retired = await owner.act(domain, "retire-keys")
    assert retired["keys"] == checked["keys"][2:]
    assert await owner.act(domain, "retire-keys") == retired


async def test_a_deleted_domain_is_gone_with_its_keys(owner: Owner, container: Container) -> None:
    domain = await owner.verified()
    await owner.call("DELETE", f"/{domain['id']}", 204)
    await owner.call("DELETE", f"/{domain['id']}", 404)
    async with container.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(dkim_keys.c.organisation_id == owner.id)
        assert await connection.scalar(query) == 0
    assert (await owner.create())["keys"] != domain["keys"]
