"""Access and erasure through the whole product, and a look into every schema afterwards."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import create_async_engine

from posthorn_common.clock import new_id
from posthorn_common.testing import tables_that_hold
from posthorn_local.client import ApiClient, Json
from posthorn_local.stack import Stack

_SCHEMAS = ("auth", "campaigns", "mailer", "analytics")


async def _holding(stack: Stack, text: str) -> dict[str, list[str]]:
    found = {}
    for service in _SCHEMAS:
        url = stack.plan.environment(service)[f"POSTHORN_{service.upper()}_DATABASE_URL"]
        engine = create_async_engine(url)
        found[service] = await tables_that_hold(engine, text)
        await engine.dispose()
    return found


async def _archive(owner: ApiClient, contact: Json) -> dict[str, Any]:
    """Return the JSON files of all that is known of a contact."""
    request = await owner.post(f"/v1/contacts/{contact['id']}/access-requests")
    done = await owner.wait_until(f"/v1/access-requests/{request['id']}", "state", {"completed"})
    async with httpx.AsyncClient(trust_env=False) as anybody:
        answer = (await anybody.get(done["download_url"])).raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        return {name: json.loads(opened.read(name)) for name in opened.namelist() if name.endswith(".json")}


async def test_an_erased_address_is_in_no_schema_and_every_service_has_confirmed(
    stack: Stack, owner: ApiClient, new_campaign: Any, eventually: Any
) -> None:
    canary = f"canary.{new_id().hex}"
    address = f"{canary}@example.org"
    campaign = await new_campaign(owner, [address, "other@example.org"], subject="Erasure")
    await owner.post(f"/v1/campaigns/{campaign['id']}/actions/send")
    await owner.wait_until(f"/v1/campaigns/{campaign['id']}", "status", {"completed"})
    await owner.post("/v1/suppressions", {"emails": [address], "reason": "manual"})
    (contact,) = (await owner.get("/v1/contacts", search=address))["items"]
    before = await _holding(stack, canary)
    assert before["campaigns"]
    assert before["mailer"]
    assert before["auth"] == before["analytics"] == []

    archive = await _archive(owner, contact)
    assert archive["campaigns/contact.json"][0]["email"] == address
    assert [row["state"] for row in archive["mailer/deliveries.json"]] == ["sent"]
    assert [row["email"] for row in archive["mailer/suppressions.json"]] == [address]
    assert [row["campaign_id"] for row in archive["analytics/recipients.json"]] == [campaign["id"]]
    assert "other@example.org" not in str(archive)

    await owner.delete(f"/v1/contacts/{contact['id']}")
    (asked,) = (await owner.get("/v1/erasures"))["items"]
    erasure = await owner.wait_until(f"/v1/erasures/{asked['id']}", "state", {"completed"})

    assert {told["service"] for told in erasure["confirmations"]} == {"campaigns", "mailer", "analytics"}
    assert await _holding(stack, canary) == {service: [] for service in _SCHEMAS}
    shown = (await owner.get(f"/v1/campaigns/{campaign['id']}/statistics"))["sent"]
    assert shown == 2, "statistics keep their counts"
    log = await eventually(lambda: owner.get("/v1/audit-log"), lambda now: "complete_erasure" in str(now))
    assert "erase_contact" in str(log)
