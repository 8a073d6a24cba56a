"""How all services are, asked at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from posthorn_gateway.app.ports import Neighbours
from posthorn_gateway.domain.errors import ServiceUnavailable
from posthorn_gateway.domain.routes import Service

# Whoever asks more often sees the same answer: anybody may ask.
_FRESH_SECONDS = 1.0


class Overseeing:
    """Asks the services for their readiness."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._lock = asyncio.Lock()
        self._report: dict[str, Any] = {}
        self._asked_at = float("-inf")

    async def report(self) -> dict[str, Any]:
        """Return `status` (ok or degraded) and each service's status, latency and checks."""
        async with self._lock:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                states = await asyncio.gather(*(self._ask(service) for service in Service))
                is_ok = all(state["status"] == "ok" for state in states)
                services = {str(service): state for service, state in zip(Service, states, strict=True)}
                self._report = {"status": "ok" if is_ok else "degraded", "services": services}
                self._asked_at = time.monotonic()
            return self._report

    async def _ask(self, service: Service) -> dict[str, Any]:
        try:
            reading = await self._neighbours.read(service, "/health/ready")
        except ServiceUnavailable as error:
            return {"status": "unreachable", "latency_ms": None, "checks": {}, "code": error.code}
        document = reading.document or {}
        return {
            "status": "ok" if reading.status == 200 else "unavailable",
            "latency_ms": round(reading.seconds * 1000, 1),
            "checks": document.get("checks", {}),
        }
