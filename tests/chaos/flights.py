"""A campaign in flight, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from posthorn_common.messaging import list_dead_letters
from posthorn_local.client import ApiClient, ApiProblem, Json
from posthorn_local.testing import product
from posthorn_local.testing.counting_relay.client import Records
from posthorn_local.testing.counting_relay.faults import Fault

from .fleet import READY_SECONDS, WORKERS, Fleet
from .report import Figures, Report

log = logging.getLogger(__name__)

RECIPIENTS = int(os.environ.get("POSTHORN_CHAOS_RECIPIENTS", "3000"))
CONNECTIONS = 10
"""Of all workers together: so many deliveries may be in doubt when one of them, or all, are killed."""

ANSWER_SECONDS = 0.01
"""How late the relay answers: long enough for a kill to fall between the final dot and the answer."""

OVER = frozenset({"completed", "completed_with_errors"})
_OUTCOMES = ("sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous")
_UNSENT = frozenset({"bounced", "failed", "suppressed", "cancelled"})
_CONSUMERS = ("campaigns", "mailer", "analytics")
_END_SECONDS = 240.0
"""A guard against hanging: besides what the recipients may take, at 50 a second."""

_AGREE_SECONDS = 120.0


@dataclass(frozen=True)
class Account:
    """An organisation with an audience and a template."""

    email: str
    password: str
    list_id: str
    template_id: str
    addresses: tuple[str, ...]


async def open_account(url: str, recipients: int) -> Account:
    """Register an organisation and import its audience."""
    addresses = tuple(f"reader.{number}@d{number % 5}.example.org" for number in range(recipients))
    async with ApiClient(url) as api:
        email, password = await product.register_owner(api)
        audience = await product.add_audience(api, "Everybody", addresses)
        template = await product.add_template(api, "Chaos")
    return Account(email, password, audience["id"], template["id"], addresses)


@dataclass(frozen=True)
class View:
    """What the product says of a campaign, by service."""

    status: str
    campaigns: Json
    mailer: Json
    analytics: Json

    @property
    def problem(self) -> str | None:
        """What does not add up, or None."""
        if self.campaigns != self.mailer or self.mailer != self.analytics:
            return f"counts differ: campaigns {self.campaigns}, mailer {self.mailer}, analytics {self.analytics}"
        if sum(self.mailer[name] for name in _OUTCOMES) != self.mailer["audience"]:
            return f"outcomes do not add up to the audience: {self.mailer}"
        if self.status in OVER:
            errors = self.mailer["failed"] + self.mailer["ambiguous"] > 0
            if self.status != ("completed_with_errors" if errors else "completed"):
                return f"{self.status} with {self.mailer}"
        return None


@dataclass
class Flight:
    """A campaign on its way."""

    fault: str
    fleet: Fleet
    report: Report
    api: ApiClient
    addresses: Sequence[str]
    campaign_id: str
    started: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        """The campaign's resource."""
        return f"/v1/campaigns/{self.campaign_id}"

    @property
    def patience(self) -> float:
        """For how many seconds to wait at most."""
        return _END_SECONDS + len(self.addresses) / 50

    def accepted(self) -> int:
        """Return the number of messages the relay has accepted."""
        return int(self.fleet.relay.counts()["messages"])

    async def under_way(self, share: float) -> None:
        """Wait until the relay has accepted this share of the messages; it must not be over by then."""
        wanted = int(share * len(self.addresses))

        async def accepted_now() -> int:
            return self.accepted()

        accepted = await product.eventually(
            accepted_now, lambda count: count >= wanted, seconds=self.patience, pause=0.01
        )
        assert accepted < len(self.addresses), "the fault came too late"

    async def still(self, seconds: float = 1.0) -> int:
        """Wait until nothing has been accepted for a while; return what was accepted by then."""
        async with asyncio.timeout(self.patience):
            while True:
                before = self.accepted()
                await asyncio.sleep(seconds)
                if self.accepted() == before:
                    return before

    async def until_status(self, status: str) -> None:
        """Wait until the campaign is in this state."""

        async def campaign() -> Json | None:
            return await self.read(self.path)

        await product.eventually(
            campaign, lambda now: now is not None and now["status"] == status, seconds=self.patience, pause=0.2
        )

    async def send(self) -> None:
        """Send it; whoever takes the order may die of it before it has answered."""
        try:
            await self.order("send")
        except ApiProblem as problem:
            if problem.status < 500:
                raise
            log.info("no answer to the order: %s", problem)

    async def order(self, verb: str) -> Json:
        """Pause, resume or cancel it."""
        return await self.api.post(f"{self.path}/actions/{verb}")

    async def ends(
        self,
        *,
        in_doubt_at_most: int | Callable[[], int] = 0,
        resent_at_most: int = 0,
        status: frozenset[str] = OVER,
    ) -> Figures:
        """Wait until the campaign is over; then hold what the product says against what the relay has counted."""
        view, problem = await self._final_view(status)
        states = await self._states()
        records = self.fleet.relay.records()
        bound = in_doubt_at_most() if callable(in_doubt_at_most) else in_doubt_at_most
        figures = self._judge(states, records, bound, resent_at_most, cancelled=view.status == "cancelled")
        if problem is not None:
            figures.problems.append(problem)
        if Counter(states.values()) != Counter({name: view.mailer[name] for name in view.mailer if name != "audience"}):
            figures.problems.append(f"the list of deliveries says {dict(Counter(states.values()))}, not {view.mailer}")
        figures.problems += await self._dead_letters()
        figures.problems += await self._not_ready()
        self.report.rows.append(figures)
        assert not figures.problems, figures
        return figures

    async def abandon(self) -> None:
        """Cancel it if it is not over, so that it does not disturb what comes next."""
        campaign = await self.read(self.path)
        if campaign is not None and campaign["status"] in {"sending", "paused", "scheduled"}:
            await self.order("cancel")
            await self.still()

    def _judge(
        self, states: dict[str, str], records: Records, bound: int, resent_at_most: int, *, cancelled: bool
    ) -> Figures:
        # Whoever was not yet planned when the campaign was cancelled never became a recipient.
        addresses = states if cancelled else self.addresses
        figures = Figures(self.fault, len(addresses), in_doubt_at_most=bound)
        figures.seconds = round(time.monotonic() - self.started, 1)
        accepted = records.accepted
        figures.accepted = len(accepted)
        again = sum(len(ids) - 1 for ids in accepted.values())
        if resent_at_most and all(len(set(ids)) == 1 for ids in accepted.values()):
            figures.resent = min(again, resent_at_most)
        figures.twice = again - figures.resent
        figures.ambiguous = sum(state == "ambiguous" for state in states.values())
        lost = [one for one in addresses if one not in accepted and not _explained(one, states, records)]
        figures.lost = len(lost)
        figures.untrue = sum(states.get(address) not in {"sent", "ambiguous"} for address in accepted)
        expectations = {
            f"{figures.lost} lost, such as {lost[:3]}": figures.lost,
            f"{figures.twice} accepted twice": figures.twice,
            f"{figures.untrue} accepted, and told otherwise": figures.untrue,
            f"{figures.ambiguous} in doubt, {bound} allowed": figures.over_bound,
            "accepted for strangers": len(accepted.keys() - set(addresses)),
            "Message-IDs are not unique": len(accepted) - len({ids[0] for ids in accepted.values()}),
        }
        figures.problems += [problem for problem, count in expectations.items() if count]
        return figures

    async def _final_view(self, status: frozenset[str]) -> tuple[View, str | None]:
        deadline = time.monotonic() + self.patience
        over_since: float | None = None
        while True:
            view = await self._view()
            now = time.monotonic()
            if view is not None and view.status in status:
                over_since = over_since or now
                problem = view.problem
                if problem is None or now > over_since + _AGREE_SECONDS:
                    return view, problem
            assert now < deadline, f"{self.fault}: not over after {self.patience:.0f} s: {view}"
            await asyncio.sleep(0.2)

    async def _view(self) -> View | None:
        campaign = await self.read(self.path)
        send = await self.read(f"{self.path}/send")
        statistics = await self.read(f"{self.path}/statistics")
        if campaign is None or send is None or statistics is None:
            return None
        names = ("audience", *_OUTCOMES)
        return View(
            campaign["status"],
            {name: campaign["counts"][name] for name in names},
            {"audience": send["audience"], **{name: send["counts"][name] for name in _OUTCOMES}},
            {name: statistics[name] for name in names},
        )

    async def read(self, path: str) -> Json | None:
        """Return a resource, or None while whoever has it is away or does not know it yet."""
        try:
            return await self.api.get(path)
        except httpx.TransportError:
            return None
        except ApiProblem as problem:
            if problem.status != 404 and problem.status < 500:
                raise
            return None

    async def _states(self) -> dict[str, str]:
        text = await self.api.text(f"{self.path}/deliveries.csv")
        return {row["email"]: row["state"] for row in csv.DictReader(io.StringIO(text))}

    async def _dead_letters(self) -> list[str]:
        url = self.fleet.stack.plan.servers.amqp
        letters = [letter for consumer in _CONSUMERS for letter in await list_dead_letters(url, consumer, 10)]
        return [f"given up: {letter.event_type} for {letter.queue}: {letter.reason}" for letter in letters]

    async def _not_ready(self) -> list[str]:
        """All services must have recovered by themselves."""
        document: Any = None
        async with httpx.AsyncClient(base_url=self.fleet.stack.plan.urls["gateway"], trust_env=False) as http:
            for _ in range(int(READY_SECONDS)):
                document = (await http.get("/health/services")).json()
                if document["status"] == "ok":
                    return []
                await asyncio.sleep(1)
        return [f"not all services are ready: {document}"]


def _explained(address: str, states: dict[str, str], records: Records) -> bool:
    """Whether an address that got nothing is in a final state that says why."""
    state = states.get(address)
    if state in {"bounced", "failed"}:
        return address in records.refused
    return state in _UNSENT or state == "ambiguous"


@dataclass(frozen=True)
class Conditions:
    """Under which a campaign is launched.

    The relay does `faults` wrong, and is so slow that the campaign takes `lasting` seconds at least. `prepare` sees to
    it that the right processes run, from that moment on; without it, all do before. `connections` are for the
    campaign, over all workers.
    """

    faults: Sequence[Fault] = ()
    lasting: float = 6.0
    connections: int = CONNECTIONS
    prepare: Callable[[], None] | None = None


def _allowed(connections: int) -> int:
    """Return the relay's limit that leaves so many to campaigns: of five or more, one is for single messages."""
    return connections + 1 if connections >= 4 else connections


@contextlib.asynccontextmanager
async def launched(
    fault: str, fleet: Fleet, account: Account, report: Report, conditions: Conditions
) -> AsyncGenerator[Flight]:
    """Send a campaign to the account's audience through a relay of its own."""
    await asyncio.to_thread(fleet.complete, workers=0 if conditions.prepare else WORKERS)
    slowly = conditions.lasting * CONNECTIONS / len(account.addresses)
    fleet.relay.follow(conditions.faults, delay_seconds=max(ANSWER_SECONDS, slowly))
    fleet.relay.forget()
    async with ApiClient(fleet.stack.plan.urls["gateway"]) as api:
        await api.sign_in(account.email, account.password)
        relay = await product.add_relay(api, fleet.relay.smtp_port, connections=_allowed(conditions.connections))
        campaign = await product.add_campaign(
            api, fault, template_id=account.template_id, list_id=account.list_id, relay_id=relay["id"]
        )
        flight = Flight(fault, fleet, report, api, account.addresses, campaign["id"])
        try:
            if conditions.prepare is not None:
                await asyncio.to_thread(conditions.prepare)
            await flight.send()
            yield flight
        finally:
            await asyncio.to_thread(fleet.complete, workers=1)
            fleet.relay.follow()
            await flight.abandon()
