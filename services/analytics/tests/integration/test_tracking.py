"""Opens and clicks through the public routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from posthorn_analytics.app import links
from posthorn_analytics.bootstrap import Container, bootstrap
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_common.clock import new_id
from posthorn_contracts.recipient_tokens import RecipientToken

from .support import LINKS, Letter, eventually, handle, published, record

pytestmark = pytest.mark.integration

SCANNER = {"User-Agent": "Mozilla/5.0 (compatible; Barracuda Sentinel)"}
APPLE_PRIVACY = {"User-Agent": "Mozilla/5.0"}


@pytest.fixture
async def letter(container: Container, organisation_id: UUID) -> Letter:
    """A campaign that has been started."""
    letter = Letter(organisation_id)
    await handle(container, letter.started())
    return letter


@pytest.fixture
def links_of(letter: Letter, token_of: Any) -> Callable[[UUID], tuple[str, str]]:
    """Return a recipient's pixel and first link."""

    def links(contact_id: UUID) -> tuple[str, str]:
        token = token_of(letter.campaign_id, contact_id)
        return f"/t/o/{token}", f"/t/c/{token}/0"

    return links


async def test_an_open_is_a_picture_that_nobody_keeps(
    client: httpx.AsyncClient, statistics: Any, links_of: Any
) -> None:
    pixel, _click = links_of(new_id())
    answer = await client.get(pixel)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.content.startswith(b"GIF89a")
    assert len(answer.content) < 50
    assert "no-store" in answer.headers["cache-control"]
    now = await statistics()
    assert (now["opens"], now["unique_opens"], now["clicks"]) == (1, 1, 0)


async def test_a_click_leads_where_the_campaigns_own_table_says(
    client: httpx.AsyncClient, statistics: Any, links_of: Any, letter: Letter, token_of: Any
) -> None:
    contact = new_id()
    token = token_of(letter.campaign_id, contact)
    for number, url in LINKS.items():
        answer = await client.get(f"/t/c/{token}/{number}", params={"url": "https://evil.example"})
        assert (answer.status_code, answer.headers["location"]) == (302, url)
        assert "no-store" in answer.headers["cache-control"]
    await client.get(f"/t/c/{token}/1")
    await client.get(f"/t/c/{token_of(letter.campaign_id, new_id())}/1")
    now = await statistics()
    assert (now["clicks"], now["unique_clicks"], now["opens"]) == (4, 2, 0)
    links = (await statistics("/links"))["items"]
    assert [(link["number"], link["clicks"], link["unique_clicks"]) for link in links] == [(0, 1, 1), (1, 3, 2)]
    [hour] = (await statistics("/timeline"))["items"]
    assert (hour["clicks"], hour["unique_clicks"]) == (4, 2)


async def test_links_that_are_not_ours_lead_nowhere(
    client: httpx.AsyncClient, letter: Letter, token_of: Any, statistics: Any
) -> None:
    token = token_of(letter.campaign_id, new_id())
    other_secret = RecipientToken(letter.campaign_id, new_id()).sign(b"some other secret of 32 bytes....")
    tampered = [
        token[:-1] + ("w" if token[-1] != "w" else "A"), token[:10] + "x" + token[11:], token[:40], token * 2,
        other_secret, "x", "é" * 20, "%00", "A" * 66,
    ]  # fmt: skip
    for bad in tampered:
        for path in (f"/t/o/{bad}", f"/t/c/{bad}/0"):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert "location" not in answer.headers
            assert answer.headers["content-type"].startswith("text/html")
    for number in ("2", "-1", "1e0", "x", "9" * 30, "\u0660", "0x0", "%2e%2e", "https:%2F%2Fevil.example"):
        answer = await client.get(f"/t/c/{token}/{number}")
        assert (answer.status_code, "location" in answer.headers) == (404, False), number
    now = await statistics()
    assert (now["opens"], now["clicks"], now["machine_opens"], now["machine_clicks"]) == (0, 0, 0, 0)


async def test_a_link_table_with_a_dangerous_address_is_not_followed(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, token_of: Any
) -> None:
    letter = Letter(organisation_id)
    event = letter.started()
    dangerous = (
        {"number": 0, "url": "javascript:alert(1)"},
        {"number": 1, "url": "https://example.com/\r\nSet-Cookie: a=b"},
    )
    event = event.model_validate({**event.model_dump(), "data": {**event.data.model_dump(), "links": dangerous}})
    await handle(container, event)
    token = token_of(letter.campaign_id, new_id())
    assert (await client.get(f"/t/c/{token}/0")).status_code == 404
    answer = await client.get(f"/t/c/{token}/1")
    assert "set-cookie" not in answer.headers
    assert "\n" not in answer.headers["location"]


async def test_head_is_answered_and_not_counted(client: httpx.AsyncClient, statistics: Any, links_of: Any) -> None:
    pixel, click = links_of(new_id())
    assert (await client.head(pixel)).status_code == 200
    answer = await client.head(click)
    assert (answer.status_code, answer.headers["location"]) == (302, LINKS[0])
    now = await statistics()
    assert (now["opens"], now["clicks"], now["machine_opens"], now["machine_clicks"]) == (0, 0, 0, 0)


async def test_machines_are_counted_apart(client: httpx.AsyncClient, statistics: Any, links_of: Any) -> None:
    pixel, click = links_of(new_id())
    await client.get(pixel, headers=APPLE_PRIVACY)
    await client.get(pixel, headers=SCANNER)
    await client.get(click, headers=SCANNER)
    await client.get(click, headers={"Sec-Purpose": "prefetch;prerender"})
    now = await statistics()
    assert (now["machine_opens"], now["machine_clicks"], now["unique_opens"], now["clicks"]) == (2, 2, 0, 0)
    await client.get(pixel)
    await client.get(click)
    now = await statistics()
    assert (now["opens"], now["unique_opens"], now["unique_clicks"]) == (1, 1, 1), "the person comes after the scanner"
    [link, _other] = (await statistics("/links"))["items"]
    assert (link["clicks"], link["machine_clicks"]) == (1, 2)


async def test_hits_of_one_contact_at_the_same_time_are_one_reader(
    settings: Any, statistics: Any, links_of: Any, container: Container, letter: Letter
) -> None:
    contacts = [new_id() for _ in range(10)]
    await handle(container, letter.recorded(*(record(contact, "sent") for contact in contacts)))
    async with (
        bootstrap(settings) as second,
        bootstrap(settings) as third,
        _person(container) as a,
        _person(second) as b,
        _person(third) as c,
    ):
        for contact in contacts:  # from the second on all processes have their connections, and run in step
            paths = links_of(contact)
            answers = await asyncio.gather(*(http.get(path) for http in (a, b, c) for path in paths for _ in range(4)))
            assert {answer.status_code for answer in answers} == {200, 302}
    now = await statistics()
    assert (now["opens"], now["clicks"]) == (120, 120)
    assert (now["unique_opens"], now["unique_clicks"]) == (10, 10)
    [link, _other] = (await statistics("/links"))["items"]
    assert (link["clicks"], link["unique_clicks"]) == (120, 10)


async def test_what_people_did_is_published_and_machines_are_not(
    container: Container, client: httpx.AsyncClient, letter: Letter, links_of: Any
) -> None:
    contact = new_id()
    pixel, click = links_of(contact)
    await client.get(pixel)
    await client.get(click)
    await client.get(click, headers=SCANNER)
    events = await published(container, letter)
    told = [engagement for event in events for engagement in event.data.engagements]
    assert [(one.contact_id, str(one.kind), one.link_number) for one in told] == [
        (contact, "open", None),
        (contact, "click", 0),
    ]
    assert {event.organisation_id for event in events} == {letter.organisation_id}


async def test_links_of_a_campaign_not_heard_of_yet_are_fetched_once(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, campaigns_service: Any,
    token_of: Any, reader: dict[str, str],
) -> None:  # fmt: skip
    letter = Letter(organisation_id)
    campaigns_service.knows(organisation_id, letter.campaign_id, LINKS)
    paths = [f"/t/c/{token_of(letter.campaign_id, new_id())}/1" for _ in range(20)]
    answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {(302, LINKS[1])}
    assert campaigns_service.calls == [letter.campaign_id]
    await handle(container, letter.started())
    links = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics/links", headers=reader)
    assert [link["unique_clicks"] for link in links.json()["items"]] == [0, 20]


async def test_a_campaign_that_does_not_exist_is_not_asked_for_again_and_again(
    client: httpx.AsyncClient, campaigns_service: Any, token_of: Any
) -> None:
    campaign_id = new_id()
    for _ in range(5):
        token = token_of(campaign_id, new_id())
        assert (await client.get(f"/t/c/{token}/0")).status_code == 404
        assert (await client.get(f"/t/o/{token}")).status_code == 404
    assert campaigns_service.calls == [campaign_id]


async def test_links_that_are_not_pinned_yet_are_looked_for_again(
    container: Container, client: httpx.AsyncClient, campaigns_service: Any, organisation_id: UUID, token_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(links, "_UNKNOWN_SECONDS", 0.0)
    letter = Letter(organisation_id)
    campaigns_service.knows(organisation_id, letter.campaign_id, {})
    path = f"/t/c/{token_of(letter.campaign_id, new_id())}/0"
    assert (await client.get(path)).status_code == 404
    await handle(container, letter.started())
    assert (await client.get(path)).headers["location"] == LINKS[0]


async def test_a_campaigns_service_that_refuses_us_is_no_readers_business(
    client: httpx.AsyncClient, campaigns_service: Any, token_of: Any
) -> None:
    campaigns_service.status = 403
    answer = await client.get(f"/t/c/{token_of(new_id(), new_id())}/0")
    assert (answer.status_code, answer.headers["content-type"].startswith("text/html")) == (503, True)


async def test_when_nobody_can_be_asked_the_reader_may_try_again(
    client: httpx.AsyncClient, campaigns_service: Any, organisation_id: UUID, token_of: Any
) -> None:
    campaigns_service.status = 503
    token = token_of(new_id(), new_id())
    answer = await client.get(f"/t/c/{token}/0")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert (await client.get(f"/t/o/{token}")).status_code == 200, "the picture is shown"


async def test_links_work_while_postgresql_is_away_and_no_click_is_lost(
    settings: Any, letter: Letter, statistics: Any, links_of: Any, proxy_to: Any
) -> None:
    first, second = links_of(new_id()), links_of(new_id())
    database = await proxy_to(_port(settings.database_url))
    through_proxy = settings.model_copy(update={"database_url": _at_port(settings.database_url, database.port)})
    async with bootstrap(through_proxy) as process, _person(process) as http:
        assert (await http.get(first[1])).status_code == 302
        await database.cut()
        for path in second:
            assert (await http.get(path)).status_code in {200, 302}
        ready = await http.get("/health/ready")
        assert ready.status_code == 200, "readers can still be answered"
        now = await statistics()
        assert (now["clicks"], now["opens"]) == (1, 0)
        await database.mend()
        assert await eventually(process.draining_spill.drain) == 2
        assert await process.draining_spill.drain() == 0
    now = await statistics()
    assert (now["clicks"], now["unique_clicks"], now["opens"]) == (2, 2, 1)


async def test_links_are_answered_even_when_nothing_can_be_stored(
    settings: Any, letter: Letter, links_of: Any, statistics: Any, proxy_to: Any
) -> None:
    pixel, click = links_of(new_id())
    database, redis = await proxy_to(_port(settings.database_url)), await proxy_to(_port(settings.redis_url))
    through_proxies = settings.model_copy(
        update={
            "database_url": _at_port(settings.database_url, database.port),
            "redis_url": _at_port(settings.redis_url, redis.port),
        }
    )
    async with bootstrap(through_proxies) as process, _person(process) as http:
        assert (await http.get(click)).status_code == 302
        before = await _lost(http)
        await database.cut()
        await redis.cut()
        assert (await http.get(click)).status_code == 302
        assert (await http.get(pixel)).status_code == 200
        assert await _lost(http) == before + 2
        assert (await http.get("/health/ready")).status_code == 503
    assert (await statistics())["clicks"] == 1


async def test_a_redis_that_does_not_answer_costs_no_click_and_no_time(
    settings: Any, links_of: Any, statistics: Any, proxy_to: Any
) -> None:
    redis = await proxy_to(_port(settings.redis_url))
    through_proxy = settings.model_copy(update={"redis_url": _at_port(settings.redis_url, redis.port)})
    async with bootstrap(through_proxy) as process, _person(process) as http:
        assert (await http.get(links_of(new_id())[1])).status_code == 302
        before = await _lost(http)
        redis.fall_silent()
        async with asyncio.timeout(
            15
        ):  # Redis is given two seconds for each answer: all ten together would wait for 20
            for _ in range(10):
                assert (await http.get(links_of(new_id())[1])).status_code == 302
        assert await _lost(http) == before
        assert (await statistics())["clicks"] == 11


async def test_a_silent_redis_and_no_database_keep_no_reader_for_long(
    settings: Any, links_of: Any, proxy_to: Any
) -> None:
    click = links_of(new_id())[1]
    database, redis = await proxy_to(_port(settings.database_url)), await proxy_to(_port(settings.redis_url))
    through_proxies = settings.model_copy(
        update={
            "database_url": _at_port(settings.database_url, database.port),
            "redis_url": _at_port(settings.redis_url, redis.port),
        }
    )
    async with bootstrap(through_proxies) as process, _person(process) as http:
        assert (await http.get(click)).status_code == 302
        before = await _lost(http)
        await database.cut()
        redis.fall_silent()
        async with asyncio.timeout(12):  # five seconds for PostgreSQL, two for Redis, and a slow machine
            assert (await http.get(click)).status_code == 302
        assert await _lost(http) == before + 1


@contextlib.asynccontextmanager
async def _person(process: Container) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(process))
    async with httpx.AsyncClient(transport=transport, base_url="http://t", headers={"User-Agent": "Firefox"}) as http:
        yield http


def _port(url: SecretStr) -> int:
    port = urlsplit(url.get_secret_value()).port
    assert port is not None
    return port


def _at_port(url: SecretStr, port: int) -> SecretStr:
    return SecretStr(url.get_secret_value().replace(f":{_port(url)}/", f":{port}/"))


async def _lost(http: httpx.AsyncClient) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if "hits_total" in line and 'outcome="lost"' in line)


async def test_neither_address_nor_token_is_in_the_logs(
    client: httpx.AsyncClient, links_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pixel, click = links_of(new_id())
    await client.get(pixel)
    await client.get(click)
    await client.get(click[:-1] + "7")
    written = capsys.readouterr()
    token = pixel.rsplit("/", 1)[1]
    assert token not in written.out + written.err


async def test_a_click_waits_until_it_is_stored(
    container: Container, client: httpx.AsyncClient, letter: Letter, links_of: Any, statistics: Any
) -> None:
    _pixel, click = links_of(new_id())
    await client.get(click)  # the link table is in memory now
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("SELECT 1 FROM campaigns WHERE campaign_id = :id FOR UPDATE"), {"id": letter.campaign_id}
        )
        waiting = asyncio.create_task(client.get(click))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert (await waiting).status_code == 302
    assert (await statistics())["clicks"] == 2


async def test_an_open_of_a_campaign_whose_links_are_not_known_is_counted_and_a_click_may_be_tried_again(
    container: Container,
    client: httpx.AsyncClient,
    campaigns_service: Any,
    organisation_id: UUID,
    token_of: Any,
    reader: dict[str, str],
) -> None:
    campaigns_service.status = 503
    scheduled = Letter(organisation_id)
    await handle(container, scheduled.scheduled())
    token = token_of(scheduled.campaign_id, new_id())
    assert (await client.get(f"/t/c/{token}/0")).status_code == 503
    assert (await client.get(f"/t/o/{token}")).status_code == 200
    now = (await client.get(f"/v1/campaigns/{scheduled.campaign_id}/statistics", headers=reader)).json()
    assert (now["unique_opens"], now["clicks"]) == (1, 0)
