"""A client of the REST API at the gateway, for the demo and the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Self

import httpx
from httpx_sse import aconnect_sse

Json = dict[str, Any]


class ApiProblem(Exception):
    """The API answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, document: Json) -> None:
        super().__init__(f"{status} {document.get('code')}: {document.get('detail')}")
        self.status = status
        self.code = str(document.get("code"))
        self.document = document


class ApiClient:
    """One caller of the API. After `register` or `sign_in` all calls carry the caller's access token."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False)
        self._refresh_token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._http.aclose()

    async def register(self, organisation_name: str, name: str, email: str, password: str) -> Json:
        """Register an organisation with its owner, and act as the owner."""
        body = {"organisation_name": organisation_name, "name": name, "email": email, "password": password}
        return self._signed_in(await self.post("/v1/auth/register", body))

    async def sign_in(self, email: str, password: str) -> Json:
        """Sign in as an existing user."""
        return self._signed_in(await self.post("/v1/auth/login", {"email": email, "password": password}))

    def use_token(self, token: str) -> None:
        """Act with an access token or an API key."""
        self._http.headers["Authorization"] = f"Bearer {token}"

    async def get(self, path: str, **params: Any) -> Json:
        """GET a resource. Raises ApiProblem."""
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: Json | None = None, **params: Any) -> Json:
        """POST JSON. Raises ApiProblem."""
        return await self._call("POST", path, json=body, params=params)

    async def delete(self, path: str) -> None:
        """DELETE a resource. Raises ApiProblem."""
        await self._call("DELETE", path)

    async def upload_csv(self, path: str, content: bytes | AsyncIterable[bytes], **params: Any) -> Json:
        """POST a CSV document. Raises ApiProblem."""
        return await self._call("POST", path, content=content, params=params, headers={"Content-Type": "text/csv"})

    async def text(self, path: str, **params: Any) -> str:
        """GET something that is not JSON. Raises ApiProblem."""
        return (await self._answer("GET", path, params=params)).text

    async def items(self, path: str, **params: Any) -> AsyncGenerator[Json]:
        """Yield all items of a list, page by page."""
        cursor: str | None = None
        while True:
            query = {**params, **({"cursor": cursor} if cursor else {})}
            page = await self.get(path, **query)
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def wait_until(self, path: str, field: str, wanted: set[str], *, seconds: float = 300) -> Json:
        """Poll a resource until `field` has one of the wanted values. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                document = await self.get(path)
                if document[field] in wanted:
                    return document
                await asyncio.sleep(0.1)

    async def progress(self, campaign_id: str) -> AsyncGenerator[Json]:
        """Yield the campaign's progress as the event stream tells it, until the stream ends."""
        path = f"/v1/campaigns/{campaign_id}/progress"
        async with aconnect_sse(self._http, "GET", path, timeout=httpx.Timeout(60, read=120)) as source:
            if source.response.status_code != httpx.codes.OK:
                await source.response.aread()
                raise ApiProblem(source.response.status_code, source.response.json())
            async for event in source.aiter_sse():
                if event.event == "end":
                    return
                if event.event == "progress":
                    yield json.loads(event.data)

    def _signed_in(self, answer: Json) -> Json:
        self.use_token(answer["access_token"])
        self._refresh_token = answer["refresh_token"]
        return answer

    async def _call(self, method: str, path: str, **arguments: Any) -> Json:
        response = await self._answer(method, path, **arguments)
        return response.json() if response.content else {}

    async def _answer(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = await self._http.request(method, path, **arguments)
        if response.is_error:
            try:
                document = response.json()
            except ValueError:
                document = {"code": "not_json", "detail": response.text[:200]}
            raise ApiProblem(response.status_code, document)
        return response
