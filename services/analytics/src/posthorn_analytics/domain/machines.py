"""Which opens and clicks are a machine's: scanners, link previews, prefetching proxies, programs.

Machines are counted apart, never dropped: an open rate without them is a guess, and so is one with them.

- Apple Mail Privacy Protection loads all images soon after delivery, read or not, and calls itself `Mozilla/5.0` and
  nothing more: a machine.
- The image proxies of Gmail, Yahoo and Outlook.com load an image when the reader looks at the message: people.
- Scanners that pretend to be an ordinary browser cannot be told by their name; `machine_window_seconds` is for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PEOPLE = ("GoogleImageProxy", "YahooMailProxy", "Thunderbird/", "Outlook-Express/")
"""User agents that contain one of these are a person's mail program or its proxy, whatever else they contain."""

MACHINES: Mapping[str, tuple[str, ...]] = {
    "mail scanner": (
        "Barracuda", "Mimecast", "Proofpoint", "FireEye", "Trellix", "Forcepoint", "Cloudmark", "MessageLabs",
        "Symantec", "Zscaler", "Sophos", "TrendMicro", "Trend Micro", "Cisco-IronPort", "Fortinet", "BitDefender",
        "urldefense", "Vade", "Cyren", "Avanan", "Abnormal",
    ),
    "link preview": (
        "Slackbot", "facebookexternalhit", "Twitterbot", "LinkedInBot", "WhatsApp/", "TelegramBot", "Discordbot",
        "SkypeUriPreview", "BingPreview", "Google-PageRenderer", "redditbot", "Embedly", "Iframely",
    ),
    "search engine": ("Googlebot", "bingbot", "YandexBot", "DuckDuckBot", "Baiduspider", "Applebot", "GoogleOther"),
    "browser without a person": ("HeadlessChrome", "PhantomJS", "Puppeteer", "Playwright", "Selenium", "Lighthouse"),
    "program": (
        "curl/", "Wget/", "python-requests", "python-httpx", "python-urllib", "Python/3", "aiohttp/", "Go-http-client",
        "okhttp", "Apache-HttpClient", "Java/", "libwww-perl", "node-fetch", "axios/", "undici", "Ruby", "PHP/",
        "PostmanRuntime", "HTTrack", "Scrapy",
    ),
}  # fmt: skip
"""Parts of machines' user agents, by what they are. Case does not matter."""

_APPLE_MAIL_PRIVACY = "mozilla/5.0"
_PEOPLE = tuple(part.lower() for part in PEOPLE)
_MACHINES = re.compile("|".join(re.escape(part) for parts in MACHINES.values() for part in parts), re.IGNORECASE)
# `Cubot` makes telephones.
_WORDS = re.compile(r"(?<!cu)bot\b|crawler|spider|scanner|monitoring|link.?check", re.IGNORECASE)
_PREFETCH_HEADERS = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_PREFETCH = ("prefetch", "prerender", "preview")


def is_machine(headers: Mapping[str, str]) -> bool:
    """Tell from a request's headers (names in lower case) whether a machine makes it."""
    if any(word in headers.get(name, "").lower() for name in _PREFETCH_HEADERS for word in _PREFETCH):
        return True
    agent = headers.get("user-agent", "").strip().lower()
    if agent in {"", _APPLE_MAIL_PRIVACY}:
        return True
    if any(part in agent for part in _PEOPLE):
        return False
    return bool(_MACHINES.search(agent) or _WORDS.search(agent))
