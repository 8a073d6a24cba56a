"""Made-up requests to every operation of the merged document: no error of ours, and no answer that it does not tell."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import pytest

from posthorn_local.client import ApiClient
from posthorn_local.stack import Stack

GUARD_SECONDS = 800
EXAMPLES = 5
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Streams without an end; what would shut the caller out; mail, which schemathesis cannot make up.
LEFT_OUT = (
    "/progress$|^/v1/auth/(logout|password)$|^/v1/sessions|^/v1/organisation/transfer-ownership$|^/v1/inbound/mail$"
)


@pytest.mark.fuzz
async def test_made_up_requests_get_documented_answers(stack: Stack, tmp_path: Path) -> None:
    gateway = stack.plan.urls["gateway"]
    async with ApiClient(gateway) as owner:
        password = secrets.token_urlsafe(15)
        email = f"owner-{secrets.token_hex(6)}@posthorn.example"
        registered = await owner.register("Fuzzed", "An Owner", email, password)
    fuzzer = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("schemathesis"), "run", f"{gateway}/openapi.json"),
        *("--header", f"Authorization: Bearer {registered['access_token']}", "--exclude-path-regex", LEFT_OUT),
        *("--checks", CHECKS, "--phases", "fuzzing", "--mode", "all", "--max-examples", str(EXAMPLES)),
        *("--continue-on-failure", "--seed", "20261125", "--no-color", "--request-timeout", "60"),
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(GUARD_SECONDS):
        output = (await fuzzer.communicate())[0].decode(errors="replace")
    assert fuzzer.returncode == 0, output[-20_000:]
    assert "Fuzzing" in output
