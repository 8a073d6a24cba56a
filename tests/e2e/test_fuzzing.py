"""Made-up requests to every operation of the merged document: no error of ours, and no answer that it does not tell."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from pathlib import Path

import pytest

from posthorn_local.client import ApiClient
from posthorn_local.stack import Stack

GUARD_SECONDS = 1500
FEW, MANY = 3, 30
"""Random requests to each operation, besides those that the document's own limits suggest."""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Streams without an end; what would shut the caller out; mail, which schemathesis cannot make up.
LEFT_OUT = (
    "/progress$|^/v1/auth/(logout|password)$|^/v1/sessions|^/v1/organisation/transfer-ownership$|^/v1/inbound/mail$"
)


# What asks for a password or a code refuses whatever is made up.
MOST_OPERATIONS_THAT_LET_NOBODY_IN = 12


@pytest.mark.timeout(GUARD_SECONDS + 400)
@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.fuzz)])
async def test_made_up_requests_get_documented_answers(stack: Stack, tmp_path: Path, examples: int) -> None:
    gateway = stack.plan.urls["gateway"]
    async with ApiClient(gateway) as owner:
        password = secrets.token_urlsafe(15)
        email = f"owner-{secrets.token_hex(6)}@posthorn.example"
        registered = await owner.register("Fuzzed", "An Owner", email, password)
    fuzzer = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("schemathesis"), "run", f"{gateway}/openapi.json"),
        *("--header", f"Authorization: Bearer {registered['access_token']}", "--exclude-path-regex", LEFT_OUT),
        *("--checks", CHECKS, "--phases", "coverage,fuzzing", "--mode", "all", "--max-examples", str(examples)),
        *("--continue-on-failure", "--no-color", "--request-timeout", "60", "--suppress-health-check", "all"),
        *(("--generation-deterministic",) if examples == FEW else ("--generation-database", "none")),
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(GUARD_SECONDS):
        output = (await fuzzer.communicate())[0].decode(errors="replace")
    assert fuzzer.returncode == 0, output[-20_000:]
    tested = re.search(r"Tested: +(\d+)", output)
    assert tested is not None, output
    assert int(tested[1]) > 100, output
    shut_out = re.search(r"Authentication failed: (\d+) operations", output)
    assert shut_out is None or int(shut_out[1]) <= MOST_OPERATIONS_THAT_LET_NOBODY_IN, output
