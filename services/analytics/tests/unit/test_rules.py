"""Rules of counting, without anything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from posthorn_analytics.app.erasing import Pseudonyms
from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.machines import is_machine
from posthorn_analytics.domain.progress import CampaignState, Speedometer, eta_seconds
from posthorn_analytics.domain.rates import rates_of
from posthorn_analytics.domain.recipients import Recipient
from posthorn_analytics.domain.tallies import CampaignTally

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ZERO = dict.fromkeys(
    (
        "sent", "deferred", "bounced", "failed", "suppressed", "cancelled", "ambiguous", "complained", "unique_opens",
        "unique_clicks", "unsubscribes",
    ),
    0,
)  # fmt: skip

PEOPLE = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Edg/142",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17928; ms-office; MSOffice 16)",
    "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile Safari/537.36",
    "Thunderbird/140.0",
]
MACHINES = [
    "",
    "   ",
    "Mozilla/5.0",
    "curl/8.5.0",
    "python-httpx/0.28.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; SomethingNew-Bot/1.0)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))",
    "BARRACUDA",
    "some-crawler",
]


@pytest.mark.parametrize("agent", PEOPLE)
def test_people_are_people(agent: str) -> None:
    assert not is_machine({"user-agent": agent})


@pytest.mark.parametrize("agent", MACHINES)
def test_machines_are_machines(agent: str) -> None:
    assert is_machine({"user-agent": agent})


@pytest.mark.parametrize(
    "headers",
    [{"purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {"x-moz": "prefetch"}, {"x-purpose": "Preview"}],
)
def test_who_says_that_it_looks_ahead_is_a_machine(headers: dict[str, str]) -> None:
    assert is_machine({**headers, "user-agent": PEOPLE[0]})


def test_a_request_without_a_user_agent_is_a_machines() -> None:
    assert is_machine({})


def _recipient() -> tuple[Recipient, CampaignTally]:
    organisation_id, campaign_id = uuid4(), uuid4()
    return Recipient(organisation_id, campaign_id, uuid4()), CampaignTally(organisation_id, campaign_id)


def test_a_reader_is_counted_once_and_each_open_too() -> None:
    recipient, tally = _recipient()
    recipient.open(NOON, tally, is_machine=True)
    recipient.open(NOON + timedelta(hours=1), tally, is_machine=False)
    recipient.open(NOON + timedelta(hours=2), tally, is_machine=False)
    assert dict(tally.totals) == {"machine_opens": 1, "opens": 2, "unique_opens": 1}
    assert recipient.first_open_at == NOON + timedelta(hours=1)
    assert [dict(amounts) for _hour, amounts in sorted(tally.hours.items())] == [
        {"machine_opens": 1},
        {"opens": 1, "unique_opens": 1},
        {"opens": 1},
    ]


def test_each_link_has_its_own_readers() -> None:
    recipient, tally = _recipient()
    for number in (0, 1, 1, 0):
        recipient.click(number, NOON, tally, is_machine=False)
    assert dict(tally.totals) == {"clicks": 4, "unique_clicks": 1}
    assert {number: dict(amounts) for number, amounts in tally.links.items()} == {
        0: {"clicks": 2, "unique_clicks": 1},
        1: {"clicks": 2, "unique_clicks": 1},
    }


def test_what_was_counted_before_the_domain_was_known_is_counted_for_it_once() -> None:
    recipient, tally = _recipient()
    recipient.open(NOON, tally, is_machine=False)
    recipient.deliver("example.com", NOON, tally)
    recipient.deliver("example.com", NOON, tally)
    recipient.click(0, NOON, tally, is_machine=False)
    assert {name: amount for name, amount in tally.domains["example.com"].items() if amount} == {
        "unique_opens": 1,
        "unique_clicks": 1,
    }


def test_rates_are_of_what_was_delivered() -> None:
    rates = rates_of({**ZERO, "sent": 90, "complained": 10, "bounced": 20, "failed": 5, "unique_opens": 40,
                      "unique_clicks": 10, "unsubscribes": 1, "suppressed": 1000})  # fmt: skip
    assert (rates.delivery, rates.bounce) == (0.8, 0.16)
    assert (rates.open, rates.click, rates.click_to_open) == (0.4, 0.1, 0.25)
    assert (rates.unsubscribe, rates.complaint) == (0.01, 0.1)


def test_a_share_of_nothing_is_zero() -> None:
    rates = rates_of(ZERO)
    assert {getattr(rates, name) for name in rates.__slots__} == {0.0}


def _state(**changes: Any) -> CampaignState:
    values: dict[str, Any] = {
        "status": CampaignStatus.COMPLETED,
        "status_at": NOON,
        "started": True,
        "audience": 3,
        "counts": {**ZERO, "sent": 1, "bounced": 1, "suppressed": 1, "deferred": 7},
        "notice": None,
    }
    return CampaignState(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, True),
        ({"audience": 4}, False),
        ({"audience": None}, False),
        ({"status": CampaignStatus.SENDING}, False),
        ({"status": CampaignStatus.PAUSED}, False),
        ({"status": None, "status_at": None}, False),
        ({"status": CampaignStatus.FAILED, "audience": None}, True),
        ({"status": CampaignStatus.CANCELLED, "audience": None}, False),
        ({"status": CampaignStatus.CANCELLED, "audience": None, "started": False}, True),
        ({"status": CampaignStatus.CANCELLED, "audience": 9}, False),
    ],
)
def test_a_campaign_is_over_when_everybody_is_accounted_for(changes: dict[str, Any], over: bool) -> None:
    state = _state(**changes)
    grace = timedelta(seconds=15)
    assert state.is_over(NOON + timedelta(seconds=14), grace) is over
    final = state.status in {CampaignStatus.COMPLETED, CampaignStatus.CANCELLED, CampaignStatus.FAILED}
    assert state.is_over(NOON + timedelta(seconds=15), grace) is final


def test_speed_is_that_of_the_last_ten_seconds() -> None:
    speedometer = Speedometer()
    assert speedometer.rate(100.0, 50) == 0
    assert speedometer.rate(102.0, 70) == 10
    for second in range(3, 30):
        rate = speedometer.rate(100.0 + second, 70)
    assert rate == 0
    assert speedometer.rate(130.0, 40) == 0, "it never runs backwards"


def test_the_time_that_is_left_follows_from_the_speed() -> None:
    sending = _state(status=CampaignStatus.SENDING, audience=103)
    assert eta_seconds(sending, 10.0) == 10
    assert eta_seconds(sending, 0.0) is None
    assert eta_seconds(_state(status=CampaignStatus.PAUSED, audience=103), 10.0) is None
    assert eta_seconds(_state(status=CampaignStatus.SENDING, audience=None), 10.0) is None


def test_pseudonyms_are_stable_and_need_the_secret() -> None:
    contact_id = uuid4()
    ours, theirs = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    assert ours.of(contact_id) == ours.of(contact_id) != theirs.of(contact_id)
    assert ours.of(contact_id) not in {contact_id, ours.of(uuid4())}
