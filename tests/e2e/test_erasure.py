"""An erasure through the whole product, and a look into every schema afterwards."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from posthorn_common.clock import new_id
from posthorn_common.testing import tables_that_hold
from posthorn_local.client import ApiClient
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

    await owner.delete(f"/v1/contacts/{contact['id']}")
    (asked,) = (await owner.get("/v1/erasures"))["items"]
    erasure = await owner.wait_until(f"/v1/erasures/{asked['id']}", "state", {"completed"})

    assert {told["service"] for told in erasure["confirmations"]} == {"campaigns", "mailer", "analytics"}
    assert await _holding(stack, canary) == {service: [] for service in _SCHEMAS}
    shown = (await owner.get(f"/v1/campaigns/{campaign['id']}/statistics"))["sent"]
    assert shown == 2, "statistics keep their counts"
    log = await eventually(lambda: owner.get("/v1/audit-log"), lambda now: "complete_erasure" in str(now))
    assert "erase_contact" in str(log)
