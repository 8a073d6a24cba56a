"""The API's description, put together from what the services say of themselves."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from posthorn_gateway.app.ports import Neighbours
from posthorn_gateway.domain.errors import ServiceUnavailable
from posthorn_gateway.domain.openapi import merge
from posthorn_gateway.domain.routes import RoutingTable, Service

log = structlog.get_logger(__name__)

_INFO = {
    "title": "Posthorn",
    "version": "1.0",
    "description": (
        "Contacts, templates, campaigns, sending and statistics. Sign in with `POST /v1/auth/login` and send the "
        "access token, or an API key, as `Authorization: Bearer …`. Errors are problem documents (RFC 9457) with a "
        "stable `code`. Lists answer `{items, next_cursor}`."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}


class Describing:
    """Merges the services' documents; asks for them every minute at most, keeps the last good one of each."""

    def __init__(
        self,
        neighbours: Neighbours,
        table: RoutingTable,
        *,
        public_url: str,
        fresh_seconds: float = 60,
        retry_seconds: float = 5,
    ) -> None:
        self._neighbours = neighbours
        self._table = table
        self._fresh_seconds = fresh_seconds
        self._retry_seconds = retry_seconds
        self._servers = [{"url": public_url}]
        self._documents: dict[Service, dict[str, Any]] = {}
        self._merged: dict[str, Any] = {}
        self._ask_again_at = float("-inf")
        self._lock = asyncio.Lock()

    async def document(self) -> dict[str, Any]:
        """Return the description. Services that have never answered are listed under `x-missing-services`."""
        async with self._lock:
            if time.monotonic() >= self._ask_again_at:
                answers = await asyncio.gather(*(self._ask(service) for service in Service))
                pause = self._fresh_seconds if all(answers) else self._retry_seconds
                self._ask_again_at = time.monotonic() + pause
                self._merged = self._merge()
            return self._merged

    async def _ask(self, service: Service) -> bool:
        try:
            reading = await self._neighbours.read(service, "/openapi.json")
        except ServiceUnavailable as error:
            log.warning("description_missing", upstream=service, error=error.code)
            return False
        document = reading.document
        if reading.status != 200 or document is None or "paths" not in document:
            log.warning("description_missing", upstream=service, status=reading.status)
            return False
        self._documents[service] = document
        return True

    def _merge(self) -> dict[str, Any]:
        documents = {str(service): self._documents[service] for service in Service if service in self._documents}
        merged = merge(documents, info=dict(_INFO), servers=self._servers, is_public=self._is_public)
        if missing := [str(service) for service in Service if service not in self._documents]:
            merged["x-missing-services"] = missing
        return merged

    def _is_public(self, service: str, path: str) -> bool:
        route = self._table.find("GET", path)
        return route is not None and route.service == service
