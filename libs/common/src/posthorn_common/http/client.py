"""Calls from one service to another's `/internal` routes."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel
from structlog.contextvars import get_contextvars
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from posthorn_common.errors import TransientError
from posthorn_common.tokens import ServiceTokens

Answer = TypeVar("Answer", bound=BaseModel)
_NOT_ACCEPTED = "invalid_token"


class InternalCallFailed(Exception):
    """The other service refused the call; trying again would not help. `detail` is its sentence for people."""

    def __init__(self, service: str, status: int, code: str, detail: str = "") -> None:
        super().__init__(f"{service} answered {status} ({code})")
        self.service = service
        self.status = status
        self.code = code
        self.detail = detail


class InternalClient:
    """A client for one service, with a service token, ids passed on, timeouts, and retries of what is transient."""

    def __init__(
        self, base_url: str, *, service: str, tokens: ServiceTokens, timeout_seconds: float = 10, attempts: int = 3
    ) -> None:
        self._service = service
        self._tokens = tokens
        self._attempts = attempts
        self._client = httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=timeout_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, answer: type[Answer], *, params: dict[str, Any] | None = None) -> Answer:
        """GET `path`.

        Raises TransientError when it is away, or does not accept our token; InternalCallFailed when it refuses.
        """
        return answer.model_validate_json(await self.get_body(path, params=params))

    async def get_body(self, path: str, *, params: dict[str, Any] | None = None) -> bytes:
        """GET `path` for an answer too large to be validated field by field. Raises as `get` does."""
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        """POST `body` to an idempotent route. Raises as `get` does."""
        return answer.model_validate_json(await self._call("POST", path, content=body.model_dump_json()))

    async def _call(self, method: str, path: str, **arguments: Any) -> bytes:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        ):
            with attempt:
                return await self._call_once(method, path, **arguments)
        raise AssertionError("tenacity raises or returns")

    async def _call_once(self, method: str, path: str, **arguments: Any) -> bytes:
        try:
            response = await self._client.request(method, path, headers=self._headers(), **arguments)
        except httpx.HTTPError as error:
            raise TransientError(f"{self._service} cannot be reached: {type(error).__name__}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError(f"{self._service} answered {response.status_code}")
        if response.status_code >= 400:
            code, detail = _code_and_detail(response)
            if code == _NOT_ACCEPTED:
                # Our clock or our secret is wrong. That says nothing about what we have asked for.
                raise TransientError(f"{self._service} does not accept our token")
            raise InternalCallFailed(self._service, response.status_code, code, detail)
        return response.content

    def _headers(self) -> dict[str, str]:
        known = get_contextvars()
        headers = {
            "Authorization": f"Bearer {self._tokens.issue(self._service)}",
            "Content-Type": "application/json",
        }
        if "correlation_id" in known:
            headers["X-Request-ID"] = str(known["correlation_id"])
        if "traceparent" in known:
            headers["traceparent"] = str(known["traceparent"])
        return headers


def _code_and_detail(response: httpx.Response) -> tuple[str, str]:
    try:
        problem = response.json()
        return str(problem.get("code", "error")), str(problem.get("detail", ""))
    except (ValueError, AttributeError):
        return "error", ""
