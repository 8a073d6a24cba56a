"""The services over HTTP: pooled connections, streamed bodies, failures by their kind."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any

import aiohttp
import orjson
import structlog
from multidict import CIMultiDict
from prometheus_client import Counter, Gauge
from yarl import URL

from posthorn_common.context import correlation_id
from posthorn_gateway.app.ports import Reading
from posthorn_gateway.domain.breaker import Breaker
from posthorn_gateway.domain.errors import InvalidAnswer, ServiceLeftAlone, ServiceTimedOut, ServiceUnavailable
from posthorn_gateway.domain.routes import Service

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Less than the services', which close after 65 s: a connection is not used in the moment in which it is closed.
_KEEP_ALIVE_SECONDS = 30.0
_RETRY_PAUSE_SECONDS = 0.05
_OWN_QUESTION_SECONDS = 3.0
_MAX_HEADER_BYTES = 32 * 1024
_NO_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

log = structlog.get_logger(__name__)

_OPEN = Gauge("posthorn_gateway_upstream_left_alone", "1 while a service is not asked for not answering.", ["service"])
_LEFT_ALONE = Counter(
    "posthorn_gateway_upstream_refused_total", "Requests refused because a service had not answered.", ["service"]
)


class Upstreams:
    """The services behind the gateway."""

    def __init__(
        self, session: aiohttp.ClientSession, addresses: Mapping[Service, str], timeout: aiohttp.ClientTimeout
    ) -> None:
        self._session = session
        self._addresses = {service: address.rstrip("/") for service, address in addresses.items()}
        self._breakers = {service: Breaker() for service in Service}
        self._timeout = timeout
        self._stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout.sock_connect, sock_read=None)

    async def request(
        self,
        service: Service,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None,
        *,
        is_stream: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send a request; return the answer when its headers are there, with its body still to be read.

        A request whose connection failed is sent a second time if its method and body allow it; a service that has
        not answered for a while is left alone. Raises ServiceUnavailable, ServiceLeftAlone, ServiceTimedOut or
        InvalidAnswer; what the body raises ends as ServiceUnavailable.
        """

        breaker = self._breakers[service]
        if wait := breaker.seconds_to_wait(time.monotonic()):
            _LEFT_ALONE.labels(service).inc()
            raise ServiceLeftAlone(service, math.ceil(wait))
        try:
            answer = await self._send(service, method, target, headers, body, is_stream=is_stream)
        except ServiceUnavailable as error:
            if _is_fault_of_service(error, body):
                self._note_failure(service, breaker)
            else:
                breaker.given_up(time.monotonic())
            raise
        except BaseException:
            breaker.given_up(time.monotonic())
            raise
        if breaker.is_open:
            log.info("upstream_is_back", upstream=service)
        breaker.answered()
        _OPEN.labels(service).set(0)
        return answer

    async def _send(
        self,
        service: Service,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None,
        *,
        is_stream: bool,
    ) -> aiohttp.ClientResponse:
        async def send() -> aiohttp.ClientResponse:
            return await self._session.request(
                method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False
            )

        url = URL(self._addresses[service] + target, encoded=True)
        timeout = self._stream_timeout if is_stream else self._timeout
        may_repeat = method in _IDEMPOTENT and (body is None or isinstance(body, bytes))
        try:
            try:
                return await send()
            except aiohttp.ClientConnectorError:  # aiohttp itself repeats what was cut off before its answer
                if not may_repeat:
                    raise
                await asyncio.sleep(_RETRY_PAUSE_SECONDS)
                return await send()
        except aiohttp.ConnectionTimeoutError as error:
            raise ServiceUnavailable(service) from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise ServiceTimedOut(service) from error
        except aiohttp.ClientResponseError as error:
            raise InvalidAnswer(service) from error
        except aiohttp.ClientConnectorError as error:
            raise ServiceUnavailable(service) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceUnavailable(service, may_have_acted=True) from error

    def _note_failure(self, service: Service, breaker: Breaker) -> None:
        was_open = breaker.is_open
        breaker.failed(time.monotonic())
        if breaker.is_open and not was_open:
            log.warning("upstream_left_alone", upstream=service)
            _OPEN.labels(service).set(1)

    async def read(self, service: Service, path: str) -> Reading:
        """GET a document for the gateway itself. Raises ServiceUnavailable."""
        started = time.perf_counter()
        headers: CIMultiDict[str] = CIMultiDict(Accept="application/json")
        if known := correlation_id():
            headers["X-Request-ID"] = known
        try:
            async with asyncio.timeout(_OWN_QUESTION_SECONDS):
                answer = await self.request(service, "GET", path, headers, None)
                async with answer:
                    document = _json_object(await answer.read())
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ServiceUnavailable(service) from error
        return Reading(answer.status, document, time.perf_counter() - started)


@contextlib.asynccontextmanager
async def open_upstreams(
    addresses: Mapping[Service, str], *, connect_seconds: float, read_seconds: float
) -> AsyncGenerator[Upstreams]:
    """Provide the services, with a pool of connections."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=read_seconds)
    async with aiohttp.ClientSession(
        # As many connections as there are requests: whoever waits for a stream must not keep others out.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_NO_AUTOMATIC,
        auto_decompress=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        trust_env=False,
        timeout=timeout,
    ) as session:
        yield Upstreams(session, addresses, timeout)


def _is_fault_of_service(error: ServiceUnavailable, body: bytes | AsyncIterable[bytes] | None) -> bool:
    """Tell whether a failure says something of the service: a body that a client sends slowly, or not, may be its."""
    if body is None or isinstance(body, bytes):
        return not isinstance(error, InvalidAnswer)
    return isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
