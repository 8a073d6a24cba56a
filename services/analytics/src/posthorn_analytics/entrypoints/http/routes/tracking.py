"""Opens and clicks of recipients. No sign-in: the signed token in the address stands for the recipient."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from posthorn_analytics.app.tracking import LinkUnknown
from posthorn_analytics.entrypoints.http.deps import Services
from posthorn_common.errors import TransientError

router = APIRouter(tags=["tracking"])

_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_HEADERS = {
    "Cache-Control": "no-store, no-cache, max-age=0, must-revalidate, private",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title></head>
<body style="font-family: sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em">
<h1>{title}</h1><p>{text}</p></body></html>
"""
_NOT_FOUND = _PAGE.format(
    title="This link does not work",
    text="It may have been cut off on its way. Please copy it from the message again.",
)
_AWAY = _PAGE.format(
    title="One moment, please", text="The link cannot be followed right now. Please try again shortly."
)
_PAGE_ANSWERS: dict[int | str, dict[str, Any]] = {
    404: {"description": "Not a link of ours", "content": {"text/html": {}}},
    503: {"description": "Try again", "content": {"text/html": {}}},
}


def _not_found() -> Response:
    return HTMLResponse(_NOT_FOUND, status_code=404, headers=_HEADERS)


@router.head("/t/o/{token}", include_in_schema=False)
@router.get(
    "/t/o/{token}",
    operation_id="track_open",
    response_class=Response,
    responses={200: {"content": {"image/gif": {}}}, 404: _PAGE_ANSWERS[404]},
)
async def track_open(token: str, request: Request, services: Services) -> Response:
    """Count an open and return a transparent picture of one pixel. HEAD is answered and not counted."""
    try:
        await services.tracking.open(token, request.headers, counted=request.method == "GET")
    except LinkUnknown:
        return _not_found()
    return Response(_PIXEL, media_type="image/gif", headers=_HEADERS)


@router.head("/t/c/{token}/{number}", include_in_schema=False)
@router.get(
    "/t/c/{token}/{number}",
    operation_id="track_click",
    status_code=302,
    response_class=RedirectResponse,
    responses={302: {"description": "To where the campaign's own link table says"}, **_PAGE_ANSWERS},
)
async def track_click(token: str, number: str, request: Request, services: Services) -> Response:
    """Count a click and redirect to the address in the campaign's link table. HEAD is answered and not counted."""
    try:
        url = await services.tracking.click(token, number, request.headers, counted=request.method == "GET")
    except LinkUnknown:
        return _not_found()
    except TransientError:
        return HTMLResponse(_AWAY, status_code=503, headers={**_HEADERS, "Retry-After": "5"})
    return RedirectResponse(url, status_code=302, headers=_HEADERS)
