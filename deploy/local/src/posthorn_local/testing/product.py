"""What tests that drive the whole product need again and again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from posthorn_local.client import ApiClient, Json

Result = TypeVar("Result")


async def eventually(
    read: Callable[[], Awaitable[Result]],
    check: Callable[[Result], object] = bool,
    *,
    seconds: float = 120,
    pause: float = 0.05,
) -> Result:
    """Call `read` until its result passes `check`; return that result. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            result = await read()
            if check(result):
                return result
            await asyncio.sleep(pause)


async def register_owner(api: ApiClient) -> tuple[str, str]:
    """Register a new organisation, act as its owner, and return the owner's address and password."""
    email, password = f"owner-{secrets.token_hex(6)}@posthorn.example", secrets.token_urlsafe(15)
    await api.register("An organisation", "An Owner", email, password)
    return email, password


async def add_relay(api: ApiClient, port: int, *, connections: int = 10) -> Json:
    """Add a relay on this machine."""
    body = {"name": f"Relay {port}", "host": "127.0.0.1", "port": port, "tls": "none", "max_connections": connections}
    return await api.post("/v1/relays", body)


async def add_audience(api: ApiClient, name: str, addresses: Sequence[str]) -> Json:
    """Import new contacts into a new list, and return the list."""
    audience = await api.post("/v1/lists", {"name": name})
    lines = ["email,first_name", *(f"{address},Reader {index}" for index, address in enumerate(addresses))]
    job = await api.upload_csv("/v1/imports", "\n".join(lines).encode(), list_id=audience["id"])
    job = await api.wait_until(f"/v1/imports/{job['id']}", "status", {"completed", "failed"})
    assert (job["status"], job["created"]) == ("completed", len(addresses)), job  # noqa: S101  for tests
    return audience


async def add_template(api: ApiClient, subject: str) -> Json:
    """Add a template with a greeting and a link."""
    body = {
        "name": subject,
        "subject": f"{subject} for {{{{ contact.first_name }}}}",
        "html": '<p>Hello {{ contact.first_name }}, <a href="https://example.com/read">read on</a>.</p>',
    }
    return await api.post("/v1/templates", body)


async def add_campaign(api: ApiClient, name: str, *, template_id: str, list_id: str, relay_id: str) -> Json:
    """Add a draft."""
    body = {
        "name": name,
        "template_id": template_id,
        "list_ids": [list_id],
        "from_name": "Posthorn",
        "from_email": "post@posthorn.example",
        "relay_id": relay_id,
    }
    return await api.post("/v1/campaigns", body)
