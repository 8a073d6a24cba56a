"""Services that die, hang or answer half: real processes, killed and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from posthorn_gateway.domain.breaker import FAILURES
from posthorn_local.ports import free_ports

from .support import GUARD_SECONDS, TokenIssuer, eventually

# Answers everything; `/v1/contacts/half` with half of what it announces, `/v1/contacts/die` by killing itself.
_SERVICE = """
import asyncio, os, signal, sys
async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        path = head.split()[1]
        if path.endswith(b"/die"):
            os.kill(os.getpid(), signal.SIGKILL)
        body = b'{"pid": %d}' % os.getpid()
        announced = len(body) * (2 if path.endswith(b"/half") else 1)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % announced)
        writer.write(body)
        await writer.drain()
        if path.endswith(b"/half"):
            os.kill(os.getpid(), signal.SIGKILL)
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class ServiceProcess:
    """One service in a process of its own, always on the same port."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SERVICE, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(GUARD_SECONDS):
            assert await self.process.stdout.readline() == b"ready\n"

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
        if self.process is not None:
            await self.process.wait()


@pytest_asyncio.fixture
async def service() -> AsyncGenerator[ServiceProcess]:
    running = ServiceProcess()
    await running.start()
    yield running
    await running.kill()


@pytest_asyncio.fixture
async def gateway(start_gateway: Any, service: ServiceProcess) -> Any:
    return await start_gateway(
        campaigns_url=f"http://127.0.0.1:{service.port}", connect_timeout_seconds=5, read_timeout_seconds=0.5
    )


@pytest.fixture
def who(issuer: TokenIssuer) -> dict[str, str]:
    return issuer.bearer()


async def test_a_killed_service_is_left_alone_while_others_go_on_and_is_found_again(
    gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    assert (await gateway.client.get("/v1/contacts", headers=who)).status_code == 200
    await service.kill()
    answers = [await gateway.client.get("/v1/contacts", headers=who) for _ in range(FAILURES + 3)]
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert {answer.json()["code"] for answer in answers} == {"service_unavailable"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 15 for answer in answers)
    metrics = (await gateway.client.get("/metrics")).text
    assert 'posthorn_gateway_upstream_left_alone{service="campaigns"} 1.0' in metrics
    assert 'posthorn_gateway_upstream_refused_total{service="campaigns"}' in metrics
    assert (await gateway.client.get("/v1/relays", headers=who)).status_code == 200, "others go on"
    await service.start()

    async def is_back() -> bool:
        return (await gateway.client.get("/v1/contacts", headers=who)).status_code == 200

    await eventually(is_back)
    metrics = (await gateway.client.get("/metrics")).text
    assert 'posthorn_gateway_upstream_left_alone{service="campaigns"} 0.0' in metrics


async def test_a_service_that_hangs_costs_waiting_only_until_it_is_left_alone(
    gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    service.signal(signal.SIGSTOP)
    try:
        calls = [gateway.client.get("/v1/contacts", headers=who) for _ in range(FAILURES)]
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {504}
        refused = await gateway.client.get("/v1/contacts", headers=who)
        assert refused.status_code == 503
        assert (await gateway.client.get("/v1/statistics", headers=who)).status_code == 200
    finally:
        service.signal(signal.SIGCONT)

    async def is_back() -> bool:
        return (await gateway.client.get("/v1/contacts", headers=who)).status_code == 200

    await eventually(is_back)


async def test_a_service_that_dies_in_the_middle_of_a_request_is_a_503(
    gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    answer = await gateway.client.get("/v1/contacts/die", headers=who)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    await service.kill()
    await service.start()
    posted = await gateway.client.post("/v1/contacts/die", headers=who)
    assert posted.status_code == 503
    assert (await gateway.client.get("/health/live")).status_code == 200


async def test_half_an_answer_breaks_the_clients_connection_and_nothing_else(
    gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await gateway.client.get("/v1/contacts/half", headers=who)
    assert (await gateway.client.get("/v1/relays", headers=who)).status_code == 200


async def test_a_connection_that_the_service_closed_meanwhile_is_not_noticed_by_callers(
    gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    for _ in range(3):
        assert (await gateway.client.get("/v1/contacts", headers=who)).status_code == 200
        await service.kill()
        await service.start()


async def test_clients_that_send_bodies_slowly_do_not_make_a_service_look_dead(
    start_gateway: Any, service: ServiceProcess, who: dict[str, str]
) -> None:
    gateway = await start_gateway(
        campaigns_url=f"http://127.0.0.1:{service.port}", read_timeout_seconds=30, body_timeout_seconds=0.2
    )

    async def never_ending() -> AsyncGenerator[bytes]:
        yield b"x"
        await asyncio.sleep(GUARD_SECONDS)

    async def send_slowly() -> None:
        with contextlib.suppress(httpx.TransportError):
            await gateway.client.post("/v1/contacts", content=never_ending(), headers=who)

    await asyncio.gather(*(send_slowly() for _ in range(FAILURES + 2)))
    assert (await gateway.client.get("/v1/contacts", headers=who)).status_code == 200
