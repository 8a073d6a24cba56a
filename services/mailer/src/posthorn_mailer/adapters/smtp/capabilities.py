"""What a relay says that it can do (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions that we can use; without EHLO there are none.

    Enhanced status codes (RFC 2034) are read wherever they stand, announced or not. `max_size` is None where no maximum
    was named.
    """

    pipelining: bool = False
    chunking: bool = False
    eight_bit_mime: bool = False
    smtp_utf8: bool = False
    starttls: bool = False
    size: bool = False
    max_size: int | None = None
    auth: frozenset[str] = frozenset()


def parse_capabilities(text: str) -> Capabilities:
    """Return the extensions in a reply to EHLO; its first line is the relay's name."""
    offers: dict[str, list[str]] = {}
    for line in text.split("\n")[1:]:
        # Servers from before RFC 4954 write `AUTH=LOGIN`.
        keyword, *values = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        offers.setdefault(keyword, []).extend(values)
    size = next(iter(offers.get("SIZE", ())), "")
    return Capabilities(
        pipelining="PIPELINING" in offers,
        chunking="CHUNKING" in offers,
        eight_bit_mime="8BITMIME" in offers,
        smtp_utf8="SMTPUTF8" in offers,
        starttls="STARTTLS" in offers,
        size="SIZE" in offers,
        max_size=(int(size) or None) if size.isascii() and size.isdigit() and len(size) <= 20 else None,
        auth=frozenset(offers.get("AUTH", ())),
    )
