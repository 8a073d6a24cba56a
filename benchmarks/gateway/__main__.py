"""`make bench-gateway`: what the gateway costs per request, beside no proxy and beside nginx, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import jwt
import typer
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.gateway.load import run
from benchmarks.gateway.service import KEY_ID, SEED_VARIABLE
from benchmarks.harness.cpu import CpuMeter
from benchmarks.harness.nginx import NginxUnavailable, nginx
from benchmarks.harness.results import last_line, machine, medians, table, write_json
from benchmarks.harness.servers import BENCH_FOLDER, Servers, running_servers
from benchmarks.harness.services import service_process
from posthorn_common.testing import ISSUER, common_settings
from posthorn_common.tokens import ACCESS_TOKEN_TYPE, AUDIENCE
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import LOOPBACK, answers, free_ports

_CONNECTIONS = 8
_WARM_UP = 500
_COLUMNS = {"cpu_us": ".0f", "median_ms": ".3f", "p99_ms": ".2f", "per_second": ".0f"}
Target = tuple[int, int]
"""Port, and the process whose CPU time is counted."""


async def _measure(target: Target, token: str, requests: int) -> dict[str, float]:
    """Return CPU and rate on eight connections, and latencies on one."""
    port, pid = target
    await run(port, token, requests=_WARM_UP, connections=_CONNECTIONS)
    meter = CpuMeter({"it": [pid]})
    meter.start()
    busy = await run(port, token, requests=requests, connections=_CONNECTIONS)
    cpu_us = meter.read()["it"] / (requests // _CONNECTIONS * _CONNECTIONS) * 1e6
    alone = await run(port, token, requests=max(requests // 4, 200), connections=1)
    return {"cpu_us": cpu_us, "median_ms": alone.median_ms, "p99_ms": alone.p99_ms, "per_second": busy.per_second}


@contextlib.asynccontextmanager
async def _service(seed: str) -> AsyncGenerator[Target]:
    port = free_ports(1)[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.gateway.service", str(port)),
        cwd=REPOSITORY,
        env={**os.environ, SEED_VARIABLE: seed},
    )
    try:
        while not answers(port):
            if process.returncode is not None:
                raise RuntimeError(f"the service ended with status {process.returncode}")
            await asyncio.sleep(0.05)
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _gateway_environment(servers: Servers, service_port: int) -> dict[str, str]:
    url = f"http://{LOOPBACK}:{service_port}"
    settings = {
        **common_settings(redis_url=servers.urls.redis, amqp_url=servers.urls.amqp),
        "jwks_url": f"{url}/.well-known/jwks.json",
        **{f"{service}_url": url for service in ("auth", "campaigns", "mailer", "analytics")},
        # Counted, and never reached.
        "organisation_per_minute": 100_000_000,
        "address_per_minute": 100_000_000,
    }
    return {f"POSTHORN_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


def _token(seed: str) -> str:
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": str(uuid4()), "org": str(uuid4()), "sid": str(uuid4()), "kind": "user",
        "scope": "contacts:read", "jti": str(uuid4()), "iat": now, "nbf": now, "exp": now + timedelta(hours=1),
    }  # fmt: skip
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": KEY_ID, "typ": ACCESS_TOKEN_TYPE})


async def _run(servers: Servers, rounds: int, requests: int) -> dict[str, dict[str, float]]:
    seed = secrets.token_hex(32)
    token = _token(seed)
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(_service(seed))
        gateway = await stack.enter_async_context(
            service_process(
                "gateway",
                _gateway_environment(servers, service[0]),
                log_file=Path(BENCH_FOLDER) / "logs" / "gateway.log",
            )
        )
        targets: dict[str, Target] = {"the service itself": service}
        try:
            targets["nginx"] = await stack.enter_async_context(nginx(service[0]))
        except NginxUnavailable as error:
            print(f"without nginx: {error}")
        targets["gateway"] = gateway.port, gateway.pid
        found: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name, target in targets.items():
                found[name].append(await _measure(target, token, requests))
                gateway.check()
    return {name: medians(figures) for name, figures in found.items()}


def main(
    rounds: Annotated[int, typer.Option(min=1, max=20)] = 3,
    requests: Annotated[int, typer.Option(min=800, max=200_000, help="Requests in each measurement.")] = 8000,
) -> None:
    """Measure, print a table and a last line for programs."""
    with running_servers("gateway") as servers:
        rows = uvloop.run(_run(servers, rounds, requests))
    print(table(rows, _COLUMNS))
    direct, ours, theirs = rows["the service itself"], rows["gateway"], rows.get("nginx")
    facts = machine()
    write_json("gateway", {"machine": facts, "rounds": rounds, "requests": requests, "rows": rows})
    print(f"load of the machine: {facts['load_1_minute']} on {facts['cores']} cores")
    print(
        last_line(
            "bench-gateway",
            {
                "cpu_us_added": f"{ours['cpu_us']:.0f}",
                "median_ms_added": f"{ours['median_ms'] - direct['median_ms']:.2f}",
                "ratio_to_nginx": f"{ours['cpu_us'] / theirs['cpu_us']:.1f}" if theirs else "none",
            },
        )
    )


if __name__ == "__main__":
    typer.run(main)
