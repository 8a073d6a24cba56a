"""A client that is generated from the merged document, and used."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import secrets
import sys
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from posthorn_local.stack import Stack

PACKAGE = "generated_posthorn_client"
GUARD_SECONDS = 240
# Bodies that are no JSON: files and mail, which the generator does not know.
NOT_GENERATED = {"POST /v1/imports", "POST /v1/imports/preview", "POST /v1/inbound/mail"}


@pytest.fixture
def importable(tmp_path: Path) -> Generator[Path]:
    """A folder that packages are imported from."""
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


async def test_a_generated_client_knows_all_operations_and_works(stack: Stack, importable: Path) -> None:
    gateway = stack.plan.urls["gateway"]
    async with httpx.AsyncClient(base_url=gateway, trust_env=False) as browser:
        document = importable / "openapi.json"
        document.write_text(json.dumps((await browser.get("/openapi.json")).json()))
    generator = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none"),
        *("--path", document, "--output-path", importable / PACKAGE),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(GUARD_SECONDS):
        output = (await generator.communicate())[0].decode()
    assert generator.returncode == 0, output
    assert set(re.findall(r"parsing (\S+ \S+) within .* Endpoint will not be generated", output)) == NOT_GENERATED
    assert "Unable to parse schema" not in output, output

    client, api, models = (importlib.import_module(f"{PACKAGE}.{name}") for name in ("client", "api", "models"))

    def operation(path: str) -> object:
        return importlib.import_module(f"{api.__name__}.{path}")

    async with client.Client(base_url=gateway) as stranger:
        person = models.RegisterRequest(
            organisation_name="Generated",
            name="An Owner",
            email=f"owner-{secrets.token_hex(6)}@posthorn.example",
            password=secrets.token_urlsafe(15),
        )
        registered = await operation("sign_in.register").asyncio(client=stranger, body=person)
    async with client.AuthenticatedClient(base_url=gateway, token=registered.access_token) as owner:
        wanted = models.NewListRequest(name="Readers")
        key = "a-key-of-the-generated-client"
        first, again = [
            await operation("lists.add_list").asyncio(client=owner, body=wanted, idempotency_key=key) for _ in range(2)
        ]
        listed = await operation("lists.list_lists").asyncio(client=owner)
        assert [item.id for item in listed.items] == [first.id] == [again.id]
        refused = await operation("lists.get_list").asyncio(client=owner, list_id=uuid4())
        assert (refused.status, refused.code) == (404, "list_not_found")
