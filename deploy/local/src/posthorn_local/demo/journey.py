"""The demo's steps, in order."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from posthorn_local.client import ApiClient, Json
from posthorn_local.demo import sample
from posthorn_local.demo.recipients import Behaviour, read_mail
from posthorn_local.demo.report import progress_bar, show_chart, show_statistics, step

RECIPIENTS = 1000
_START_IN = timedelta(seconds=3)
_FINAL = {"completed", "completed_with_errors", "cancelled", "failed"}
_STATISTICS_SECONDS = 60


@dataclass(frozen=True)
class DemoAccount:
    """The demo's owner, remembered between runs so that a second run signs in instead of registering."""

    email: str
    password: str
    runs: int

    @classmethod
    def load(cls, file: Path) -> DemoAccount | None:
        """Return the account of an earlier run, if any."""
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def save(self, file: Path) -> None:
        """Write the account, readable for its user only."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(self), out)


async def run_demo(urls: Mapping[str, str], account_file: Path) -> None:
    """Send a campaign from sign-in to statistics. Raises ApiProblem, TimeoutError, RuntimeError."""
    started = time.monotonic()
    async with ApiClient(urls["gateway"]) as api:
        account = await _sign_in(api, account_file)
        relay = await _relay(api, urls["smtp"])
        audience = await _import_contacts(api, account.runs)
        segment = await _segment(api, audience, account.runs)
        campaign = await _schedule(api, audience, segment, relay, account.runs)
        await _watch(api, campaign["id"])
        behaviour = await read_mail(urls["mailcatcher"], sample.subject_mark(account.runs))
        step(
            f"{behaviour.opened} recipients opened, {behaviour.clicked} clicked, {behaviour.unsubscribed} unsubscribed"
        )
        statistics = await _statistics(api, campaign["id"], behaviour)
        await _show(api, campaign["id"], statistics)
    _say_where(urls, account)
    print(
        f"demo: recipients={statistics['audience']} sent={statistics['sent']} opened={statistics['unique_opens']} "
        f"clicked={statistics['unique_clicks']} unsubscribed={statistics['unsubscribes']} "
        f"seconds={time.monotonic() - started:.1f}",
        flush=True,
    )


async def _sign_in(api: ApiClient, account_file: Path) -> DemoAccount:
    known = DemoAccount.load(account_file)
    if known is None:
        account = DemoAccount("owner@posthorn.example", secrets.token_urlsafe(15), runs=1)
        await api.register("Posthorn Demo", "Demo Owner", account.email, account.password)
        step(f"registered the organisation Posthorn Demo with its owner {account.email}")
    else:
        account = DemoAccount(known.email, known.password, known.runs + 1)
        await api.sign_in(account.email, account.password)
        step(f"signed in as {account.email}")
    account.save(account_file)
    return account


async def _relay(api: ApiClient, smtp_url: str) -> Json:
    async for relay in api.items("/v1/relays"):
        if relay["name"] == "Mail catcher" and smtp_url.endswith(f":{relay['port']}"):
            return relay
    host, _, port = smtp_url.removeprefix("smtp://").rpartition(":")
    body = {"name": "Mail catcher", "host": host, "port": int(port), "tls": "none", "max_connections": 10}
    relay = await api.post("/v1/relays", body)
    step(f"added the mail catcher as relay, {host}:{port}")
    return relay


async def _import_contacts(api: ApiClient, run: int) -> Json:
    audience = await api.post("/v1/lists", {"name": f"Demo readers {run}"})
    document = sample.contacts_csv(RECIPIENTS, run=run)
    job = await api.upload_csv("/v1/imports", document, list_id=audience["id"])
    job = await api.wait_until(f"/v1/imports/{job['id']}", "status", {"completed", "failed", "cancelled"})
    if job["status"] != "completed":
        raise RuntimeError(f"the import is {job['status']}: {job['error']}")
    step(f"imported {job['created']:,} contacts from a CSV file, {job['rejected']} lines rejected")
    return audience


async def _segment(api: ApiClient, audience: Json, run: int) -> Json:
    """Write a segment: everybody on one of the plans that the letter speaks of."""
    declared = {attribute["key"] for attribute in (await api.get("/v1/contact-attributes"))["items"]}
    if "plan" not in declared:
        await api.post("/v1/contact-attributes", {"key": "plan", "type": "string"})
    rule = {"all": [{"list": audience["id"]}, {"attribute": "plan", "in": sorted(sample.PLANS)}]}
    segment = await api.post("/v1/segments", {"name": f"Demo readers with a plan {run}", "rule": rule})
    found = await api.get(f"/v1/segments/{segment['id']}/preview?sample=0")
    step(f"wrote a segment that finds {found['active']:,} contacts by list and plan")
    return segment


async def _schedule(api: ApiClient, audience: Json, segment: Json, relay: Json, run: int) -> Json:
    template = await api.post(
        "/v1/templates", {"name": f"Demo letter {run}", "subject": sample.subject(run), "html": sample.HTML}
    )
    step(f"wrote a template that uses {', '.join(template['merge_fields'])}")
    campaign = await api.post(
        "/v1/campaigns",
        {
            "name": f"Demo campaign {run}",
            "template_id": template["id"],
            "list_ids": [audience["id"]],
            "segment_ids": [segment["id"]],
            "from_name": "Posthorn",
            "from_email": "post@posthorn.example",
            "relay_id": relay["id"],
        },
    )
    start = datetime.now(UTC) + _START_IN
    path = f"/v1/campaigns/{campaign['id']}/actions/schedule"
    campaign = await api.post(path, {"scheduled_at": start.isoformat()})
    step(f"scheduled the campaign for {start:%H:%M:%S} UTC")
    return campaign


async def _watch(api: ApiClient, campaign_id: str) -> None:
    """Show the campaign's progress as the event stream tells it, until it is over."""
    with progress_bar() as bar:
        task = bar.add_task("waiting", total=RECIPIENTS, detail="")
        while True:
            async for now in api.progress(campaign_id):
                done = sum(now[name] for name in ("sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous"))
                bar.update(task, description=now["status"], completed=done, total=now["audience"] or RECIPIENTS)
            campaign = await api.get(f"/v1/campaigns/{campaign_id}")
            if campaign["status"] in _FINAL:
                break
            await asyncio.sleep(0.2)  # the stream was cut, for instance by a restart: listen again
    if campaign["status"] != "completed":
        raise RuntimeError(f"the campaign is {campaign['status']}: {campaign['failure_reason'] or campaign['counts']}")
    step(f"the campaign is completed: {campaign['counts']['sent']:,} messages were accepted by the relay")


async def _statistics(api: ApiClient, campaign_id: str, expected: Behaviour) -> Json:
    """Return the statistics once they have counted what the recipients did."""
    async with asyncio.timeout(_STATISTICS_SECONDS):
        while True:
            statistics = await api.get(f"/v1/campaigns/{campaign_id}/statistics")
            seen = Behaviour(statistics["unique_opens"], statistics["unique_clicks"], statistics["unsubscribes"])
            if seen.opened >= expected.opened and seen.clicked >= expected.clicked and seen.unsubscribed >= 1:
                return statistics
            await asyncio.sleep(0.1)


async def _show(api: ApiClient, campaign_id: str, statistics: Json) -> None:
    path = f"/v1/campaigns/{campaign_id}/statistics"
    links = await api.get(f"{path}/links")
    domains = await api.get(f"{path}/domains")
    show_statistics(statistics)
    show_chart("Clicks by link", [(link["url"], link["clicks"]) for link in links["items"]])
    show_chart("Sent by recipient domain", [(domain["domain"], domain["sent"]) for domain in domains["items"]])


def _say_where(urls: Mapping[str, str], account: DemoAccount) -> None:
    print(
        f"""
Everything is still running:
  API documentation  {urls["gateway"]}/docs
  mail catcher       {urls["mailcatcher"]}
  services' health   {urls["gateway"]}/health/services
  sign in as         {account.email}
  password           {account.password}
  metrics            {urls["gateway"]}/metrics, and /metrics of every service (`make status` lists them)
  dashboards         Grafana comes with `make compose-up`; its boards are in deploy/observability
`make logs` follows the logs, `make down` stops everything, `make reset` also deletes the data.
"""
    )
