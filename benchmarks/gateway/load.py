"""Requests on connections that are kept open: each connection sends its next one when it has its answer."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from posthorn_local.ports import LOOPBACK


@dataclass(frozen=True)
class Load:
    """What a run has come to."""

    median_ms: float
    p99_ms: float
    per_second: float


async def run(port: int, token: str, *, requests: int, connections: int) -> Load:
    """Send GET requests. Raises RuntimeError at the first answer that is not 200."""
    request = (
        f"GET /v1/contacts?limit=6 HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nAuthorization: Bearer {token}\r\n"
        "User-Agent: bench\r\nAccept: application/json\r\n\r\n"
    ).encode()
    latencies: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(_repeat(port, request, requests // connections, latencies) for _ in range(connections)))
    seconds = time.perf_counter() - started
    hundredths = statistics.quantiles(latencies, n=100)
    return Load(statistics.median(latencies) * 1000, hundredths[98] * 1000, len(latencies) / seconds)


async def _repeat(port: int, request: bytes, times: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    for _ in range(times):
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {head[:200]!r}")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        await reader.readexactly(int(length))
        latencies.append(time.perf_counter() - begun)
    writer.close()
    await writer.wait_closed()
