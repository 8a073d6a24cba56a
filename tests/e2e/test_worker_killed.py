"""The promise: a worker may die at any moment, nobody is lost, nobody is mailed twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from posthorn_local.client import ApiClient
from posthorn_local.stack import Stack

RECIPIENTS = 10_000
CONNECTIONS = 10
_OVER = {"completed", "completed_with_errors", "failed", "cancelled"}
_OUTCOMES = ("sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous")


async def test_ten_thousand_arrive_although_one_of_three_workers_is_killed_half_way(
    stack: Stack, owner: ApiClient, mailbox: Any, new_campaign: Any, eventually: Any
) -> None:
    addresses = [f"reader.{number}@example.com" for number in range(RECIPIENTS)]
    campaign = await new_campaign(owner, addresses, subject="Kill campaign")
    path = f"/v1/campaigns/{campaign['id']}"
    # The mailer of the stack works too: three workers in all.
    victim, survivor = stack.start_workers(2)
    try:
        await owner.post(f"{path}/actions/send")
        await eventually(mailbox.accepted, lambda count: count >= RECIPIENTS * 0.4)
        victim.kill()
        finished = await owner.wait_until(path, "status", _OVER, seconds=600)
    finally:
        survivor.stop()
    counts = finished["counts"]
    assert counts["audience"] == RECIPIENTS
    assert sum(counts[name] for name in _OUTCOMES) == RECIPIENTS
    assert counts["sent"] + counts["ambiguous"] == RECIPIENTS
    assert counts["ambiguous"] <= CONNECTIONS, "at most one delivery per open connection may be in doubt"

    arrived = Counter(
        address for message in await mailbox.messages("Kill campaign") for address in message["envelope_to"]
    )
    assert max(arrived.values()) == 1, "nobody is mailed twice"
    in_doubt = [item async for item in owner.items(f"{path}/deliveries", state="ambiguous")]
    assert len(in_doubt) == counts["ambiguous"]
    missing = set(addresses) - arrived.keys()
    assert missing <= {item["email"] for item in in_doubt}, "whoever did not get the message is known by name"

    # What is in doubt is the operator's to decide. Here the inbox can be looked into.
    for item in in_doubt:
        verdict = "resend" if item["email"] in missing else "sent"
        await owner.post(f"{path}/deliveries/{item['contact_id']}/actions/resolve", {"as": verdict})
    await eventually(mailbox.accepted, lambda count: count == RECIPIENTS)

    final = await eventually(
        lambda: owner.get(f"{path}/statistics"), lambda now: now["sent"] == RECIPIENTS and now["ambiguous"] == 0
    )
    assert sum(final[name] for name in _OUTCOMES) == final["audience"] == RECIPIENTS
    stored = (await mailbox.http.get("/api/stats")).json()
    assert stored["recipients"] == RECIPIENTS
    assert stored["repeated"] == 0
    domains = await owner.get(f"{path}/statistics/domains")
    assert [(item["domain"], item["sent"]) for item in domains["items"]] == [("example.com", RECIPIENTS)]
