"""What recipients do with their mail: open it, click, unsubscribe. Everything goes through the public routes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

_READERS = 16
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"
_PIXEL = re.compile(r'src="([^"]*/t/o/[^"]+)"')
_CLICK = re.compile(r'href="([^"]*/t/c/[^"]+)"')
_ONE_CLICK_URL = re.compile(r"<(https?://[^>]+)>")
_OPEN_EVERY = 2
_CLICK_EVERY = 5


@dataclass(frozen=True)
class Behaviour:
    """How many recipients did what."""

    opened: int
    clicked: int
    unsubscribed: int


async def read_mail(mailcatcher_url: str, subject_mark: str) -> Behaviour:
    """Let every second recipient open the message, every fifth click a link, and the first one unsubscribe.

    `subject_mark` is a part of the subject that no other messages have.
    """
    async with httpx.AsyncClient(timeout=60, trust_env=False, headers={"User-Agent": _USER_AGENT}) as browser:
        ids = await _message_ids(browser, mailcatcher_url, subject_mark)
        openers, clickers = ids[::_OPEN_EVERY], ids[::_CLICK_EVERY]
        await _each(openers, lambda id_: _open(browser, f"{mailcatcher_url}/api/messages/{id_}"))
        await _each(clickers, lambda id_: _click(browser, f"{mailcatcher_url}/api/messages/{id_}"))
        await _unsubscribe(browser, f"{mailcatcher_url}/api/messages/{ids[0]}")
    return Behaviour(opened=len(openers), clicked=len(clickers), unsubscribed=1)


async def _message_ids(browser: httpx.AsyncClient, mailcatcher_url: str, subject_mark: str) -> list[int]:
    ids: list[int] = []
    cursor: str | None = None
    while True:
        query = {"subject": subject_mark, "limit": "500", **({"cursor": cursor} if cursor else {})}
        page = (await browser.get(f"{mailcatcher_url}/api/messages", params=query)).raise_for_status().json()
        ids += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return sorted(ids)


async def _each(ids: list[int], act: Callable[[int], Awaitable[None]]) -> None:
    places = asyncio.Semaphore(_READERS)

    async def one(id_: int) -> None:
        async with places:
            await act(id_)

    await asyncio.gather(*(one(id_) for id_ in ids))


async def _open(browser: httpx.AsyncClient, message_url: str) -> None:
    html = (await browser.get(message_url)).raise_for_status().json()["html"]
    (await browser.get(_found(_PIXEL, html))).raise_for_status()


async def _click(browser: httpx.AsyncClient, message_url: str) -> None:
    html = (await browser.get(message_url)).raise_for_status().json()["html"]
    links = _CLICK.findall(html)
    # Where the link leads lies outside this machine: the redirect itself is what counts.
    answer = await browser.get(links[sum(message_url.encode()) % len(links)])
    if not answer.is_redirect:
        raise RuntimeError(f"a tracked link answered {answer.status_code} instead of a redirect")


async def _unsubscribe(browser: httpx.AsyncClient, message_url: str) -> None:
    """Do what a mail program does for RFC 8058 one-click unsubscription."""
    headers = (await browser.get(message_url)).raise_for_status().json()["headers"]
    value = next(value for name, value in headers if name.lower() == "list-unsubscribe")
    url = _found(_ONE_CLICK_URL, value)
    (await browser.post(url, data={"List-Unsubscribe": "One-Click"})).raise_for_status()


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise RuntimeError(f"no {pattern.pattern} in the message")
    return match[1]
