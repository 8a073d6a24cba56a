"""The HTTP side: pages for people, JSON for programs."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import Any

from aiohttp import web

from posthorn_local.mailcatcher import pages
from posthorn_local.mailcatcher.content import read_content
from posthorn_local.mailcatcher.store import MessageStore, StoredMessage

_STORE = web.AppKey("store", MessageStore)
_MAX_PAGE = 500
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'"
# A message may bring its own styles and load pictures of the local installation: viewing one counts as an open.
_MESSAGE_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data: http://127.0.0.1:* http://localhost:*"
)
routes = web.RouteTableDef()


class InvalidQuery(Exception):
    """A query parameter is not what it has to be."""


def build_site(store: MessageStore) -> web.Application:
    """Return the web application that shows the messages of a store."""
    application = web.Application(middlewares=[_harden])
    application[_STORE] = store
    application.add_routes(routes)
    return application


@web.middleware
async def _harden(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except InvalidQuery as error:
        response = _problem(400, "invalid_query", str(error))
    response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@routes.get("/health/ready")
async def ready(request: web.Request) -> web.Response:
    """Answer when messages can be read."""
    await asyncio.to_thread(request.app[_STORE].statistics)
    return web.json_response({"status": "ok"})


@routes.get("/")
async def index(request: web.Request) -> web.Response:
    """Show the newest messages."""
    store = request.app[_STORE]
    search = {name: value for name in ("recipient", "subject") if (value := request.query.get(name))}
    messages, next_cursor = await asyncio.to_thread(store.page, **_search(request), limit=50)
    statistics = await asyncio.to_thread(store.statistics)
    page = pages.list_page(messages, next_cursor=next_cursor, statistics=statistics, search=search)
    return web.Response(text=page, content_type="text/html")


@routes.get("/catcher.css")
async def style_sheet(request: web.Request) -> web.Response:  # noqa: ARG001
    """Serve the pages' style sheet."""
    return web.Response(text=pages.STYLE_SHEET, content_type="text/css")


@routes.get(r"/messages/{id:\d{1,18}}")
async def show_message(request: web.Request) -> web.Response:
    """Show one message."""
    message = await _message(request)
    if message is None:
        return web.Response(text=pages.not_found_page(), content_type="text/html", status=404)
    return web.Response(text=pages.message_page(message, read_content(message.raw)), content_type="text/html")


@routes.get(r"/messages/{id:\d{1,18}}/html")
async def show_html(request: web.Request) -> web.Response:
    """Serve the HTML part alone, for the sandboxed frame."""
    message = await _message(request)
    html = None if message is None else read_content(message.raw).html
    if html is None:
        return web.Response(text=pages.not_found_page(), content_type="text/html", status=404)
    headers = {"Content-Security-Policy": _MESSAGE_POLICY}
    return web.Response(text=f"<base target=_blank>{html}", content_type="text/html", headers=headers)


@routes.get(r"/messages/{id:\d{1,18}}/source")
async def show_source(request: web.Request) -> web.Response:
    """Serve the message as it came."""
    message = await _message(request)
    if message is None:
        return web.Response(text=pages.not_found_page(), content_type="text/html", status=404)
    return web.Response(body=message.raw, content_type="text/plain", charset="utf-8")


@routes.get("/api/messages")
async def list_messages(request: web.Request) -> web.Response:
    """List messages, newest first: `recipient`, `subject`, `limit` (1 to 500), `cursor`."""
    limit = _number(request, "limit") or 50
    if limit > _MAX_PAGE:
        raise InvalidQuery(f"limit is at most {_MAX_PAGE}")
    messages, next_cursor = await asyncio.to_thread(request.app[_STORE].page, **_search(request), limit=limit)
    items = [asdict(message) for message in messages]
    return web.json_response({"items": items, "next_cursor": None if next_cursor is None else str(next_cursor)})


@routes.get(r"/api/messages/{id:\d{1,18}}")
async def get_message(request: web.Request) -> web.Response:
    """Return one message with headers, text, HTML and source."""
    message = await _message(request)
    if message is None:
        return _problem(404, "message_not_found", "There is no such message.")
    document = asdict(message) | asdict(read_content(message.raw))
    document["raw"] = message.raw.decode("utf-8", "replace")
    return web.json_response(document)


@routes.get("/api/stats")
async def statistics(request: web.Request) -> web.Response:
    """Count what has been caught."""
    return web.json_response((await asyncio.to_thread(request.app[_STORE].statistics)).as_dict())


@routes.delete("/api/messages")
async def delete_messages(request: web.Request) -> web.Response:
    """Delete all messages."""
    await asyncio.to_thread(request.app[_STORE].clear)
    return web.Response(status=204)


def _search(request: web.Request) -> dict[str, Any]:
    return {
        "recipient": request.query.get("recipient"),
        "subject": request.query.get("subject"),
        "cursor": _number(request, "cursor"),
    }


def _number(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if not value:
        return None
    if not _NUMBER.fullmatch(value) or int(value) == 0:
        raise InvalidQuery(f"{name} is a positive whole number")
    return int(value)


async def _message(request: web.Request) -> StoredMessage | None:
    return await asyncio.to_thread(request.app[_STORE].get, int(request.match_info["id"]))


def _problem(status: int, code: str, detail: str) -> web.Response:
    body = {"status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
