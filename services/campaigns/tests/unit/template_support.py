"""Rendering templates in tests."""

from __future__ import annotations

from typing import Any

from posthorn_common.templating import Template

CONTACT: dict[str, Any] = {
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "attributes": {"city": "London", "vip": True, "books": ["a", "b"]},
}
URL = "https://mail.test/u/token"


def as_mailer(source: str, *, html: bool, contact: dict[str, Any] | None = None) -> str:
    """Render as the mailer does."""
    template = Template(
        source, html=html, functions={"posthorn_link": lambda number: f"https://mail.test/t/c/{number}"}
    )
    context = {
        "contact": CONTACT if contact is None else contact,
        "campaign": {"name": "Autumn"},
        "posthorn_unsubscribe_url": URL,
        "posthorn_open_pixel": "https://mail.test/t/o/token",
        "unsubscribe_url": URL,
    }
    return template.render(context)
