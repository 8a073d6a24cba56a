"""Limits of sending through the API, and operators as a real DNS server tells them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.dns import ResolverDns
from posthorn_mailer.adapters.mx import MxOperators

from .dns_server import dns_server
from .support import eventually

pytestmark = pytest.mark.integration

NONE = {"messages_per_second": None, "domains": []}
SOME = {
    "messages_per_second": 100.0,
    "domains": [
        {"name": "google", "messages_per_second": 5.0, "max_connections": 2},
        {"name": "example.com", "messages_per_second": None, "max_connections": 1},
    ],
}


def _headers(mint: TokenMint, organisation_id: UUID, role: Role = Role.OWNER) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint.access_token(organisation_id, ROLE_PERMISSIONS[role])}"}


async def _get(client: httpx.AsyncClient, headers: dict[str, str]) -> Any:
    answer = await client.get("/v1/sending-limits", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_limits_are_replaced_as_a_whole_and_belong_to_one_organisation(
    client: httpx.AsyncClient, mint: TokenMint
) -> None:
    ours, theirs = _headers(mint, uuid4()), _headers(mint, uuid4())
    assert await _get(client, ours) == NONE
    for wanted in (SOME, {"messages_per_second": 3.0, "domains": []}, SOME, NONE, SOME):
        answer = await client.put("/v1/sending-limits", json=wanted, headers=ours)
        assert (answer.status_code, answer.json()) == (200, wanted)
        assert await _get(client, ours) == wanted
    assert await _get(client, theirs) == NONE


async def test_two_who_replace_limits_at_the_same_time_leave_those_of_one(
    client: httpx.AsyncClient, mint: TokenMint
) -> None:
    headers = _headers(mint, uuid4())
    wanted = [{"messages_per_second": float(rate), "domains": []} for rate in range(1, 9)]
    answers = await asyncio.gather(*(client.put("/v1/sending-limits", json=one, headers=headers) for one in wanted))
    assert {answer.status_code for answer in answers} == {200}
    assert await _get(client, headers) in wanted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messages_per_second": 0}, "invalid_request"),
        ({"messages_per_second": -1}, "invalid_request"),
        ({"domains": [{"name": "google", "max_connections": 0}]}, "invalid_request"),
        ({"domains": [{"name": "two words", "max_connections": 1}]}, "invalid_request"),
        ({"domains": [{"name": "google", "speed": 1}]}, "invalid_request"),
        (
            {"domains": [{"name": f"d{number}.example", "max_connections": 1} for number in range(201)]},
            "invalid_request",
        ),
        ({"domains": [{"name": "google"}]}, "invalid_limit"),
        ({"domains": [{"name": "gmail.com", "max_connections": 1}]}, "invalid_limit"),
        ({"domains": [{"name": "nobody", "max_connections": 1}]}, "invalid_limit"),
        (
            {"domains": [{"name": "a.example", "max_connections": 1}, {"name": "A.example", "max_connections": 2}]},
            "invalid_limit",
        ),
    ],
)
async def test_limits_that_make_no_sense_are_refused(
    client: httpx.AsyncClient, mint: TokenMint, change: dict[str, Any], code: str
) -> None:
    headers = _headers(mint, uuid4())
    answer = await client.put("/v1/sending-limits", json=change, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert await _get(client, headers) == NONE


async def test_who_may_not_change_relays_may_not_change_limits(client: httpx.AsyncClient, mint: TokenMint) -> None:
    viewer = _headers(mint, uuid4(), Role.VIEWER)
    assert (await client.put("/v1/sending-limits", json=SOME, headers=viewer)).status_code == 403
    assert (await client.get("/v1/sending-limits")).status_code == 401


async def test_the_operator_of_a_domain_is_told_from_its_mail_hosts_without_waiting() -> None:
    async with dns_server() as dns:
        dns.mail_hosts["company.example"] = ["20 backup.example.", "10 aspmx.l.google.com."]
        dns.mail_hosts["own.example"] = ["10 mail.own.example."]
        operators = MxOperators(ResolverDns(f"127.0.0.1:{dns.port}"))
        assert operators.group("gmail.com") == "google"
        assert operators.group("company.example") == "company.example", "nobody knows yet"
        await eventually(lambda: operators.group("company.example") == "google")
        for domain in ("own.example", "nowhere.example"):
            operators.group(domain)
            await eventually(lambda domain=domain: domain in dns.asked)
        await eventually(lambda: not operators._asking)
        assert [operators.group(domain) for domain in ("own.example", "nowhere.example")] == [
            "own.example",
            "nowhere.example",
        ]
        assert not operators._asking
        assert sorted(dns.asked) == ["company.example", "nowhere.example", "own.example"], "each once, gmail.com never"
        await operators.close()


async def test_while_the_dns_does_not_answer_a_domain_stands_for_itself_and_lookups_are_few() -> None:
    async with dns_server() as dns:
        operators = MxOperators(ResolverDns(f"127.0.0.1:{dns.port}"))
        names = [f"d{number}.example" for number in range(100)]
        dns.silent.update(names)
        assert [operators.group(name) for name in names] == names
        assert len(operators._asking) == 20
        await operators.close()
        assert operators._asking == {}


async def test_a_dns_that_fails_is_not_asked_again_for_each_recipient() -> None:
    async with dns_server() as dns:
        dns.broken.add("company.example")
        operators = MxOperators(ResolverDns(f"127.0.0.1:{dns.port}"))
        operators.group("company.example")
        await eventually(lambda: "company.example" in operators._known)
        asked = len(dns.asked)
        assert {operators.group("company.example") for _ in range(50)} == {"company.example"}
        assert not operators._asking
        assert len(dns.asked) == asked
        await operators.close()
