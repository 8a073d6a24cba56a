"""What the tests of sending domains share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import httpx

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role

from .dns_server import DnsServer

Verified = Callable[[bytes, Mapping[str, str], int], list[bool]]
NAME = "posthorn.example"
KEY = b"k" * 32  # as the fixture `settings` has it


class Owner:
    """An organisation's owner at the API."""

    def __init__(self, client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer, organisation_id: UUID) -> None:
        self.client = client
        self.dns = dns
        self.id = organisation_id
        self.headers = {"Authorization": f"Bearer {mint.access_token(self.id, ROLE_PERMISSIONS[Role.OWNER])}"}

    async def call(self, method: str, path: str, status: int = 200, body: Any = None) -> Any:
        answer = await self.client.request(method, f"/v1/domains{path}", headers=self.headers, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def create(self, domain: str = NAME) -> dict[str, Any]:
        created: dict[str, Any] = await self.call("POST", "", 201, {"domain": domain})
        return created

    async def act(self, domain: dict[str, Any], verb: str, status: int = 200) -> Any:
        return await self.call("POST", f"/{domain['id']}/actions/{verb}", status)

    def publish(self, domain: dict[str, Any], *purposes: str) -> None:
        for record in domain["records"]:
            if record["purpose"] in purposes:
                self.dns.zone[record["name"]] = [record["strings"]]

    async def verified(self, name: str = NAME) -> dict[str, Any]:
        domain = await self.create(name)
        self.publish(domain, "dkim")
        return dict((await self.act(domain, "verify"))["domain"])

    @property
    def records(self) -> dict[str, str]:
        """The zone, as a verifier of signatures asks for it."""
        return {name: "".join(texts[0]) for name, texts in self.dns.zone.items()}


def results(check: dict[str, Any]) -> dict[str, str]:
    """What was found, by algorithm or purpose."""
    algorithms = {key["id"]: key["algorithm"] for key in check["domain"]["keys"]}
    return {algorithms.get(one["key_id"], one["purpose"]): one["result"] for one in check["checks"]}


def states(domain: dict[str, Any]) -> list[str]:
    return [key["state"] for key in domain["keys"]]


# Records.
