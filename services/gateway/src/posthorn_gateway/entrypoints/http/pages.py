"""The gateway's own pages: documentation and the health of everything behind it."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from posthorn_common.http.problems import problem_response
from posthorn_gateway.bootstrap import Container

router = APIRouter(include_in_schema=False)

_ASSETS = Path(__file__).parent / "assets"
_MEDIA_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "docs.js": "text/javascript"}
# Scripts and styles from here only, calls to this host and the public one only, no frames.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' {public_origin}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Posthorn API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. The document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/docs.js"></script>
</body>
</html>
"""


def container(request: Request) -> Container:
    """Return the gateway's container."""
    found: Container = request.app.state.container
    return found


Services = Annotated[Container, Depends(container)]


@router.get("/")
async def root() -> RedirectResponse:
    """Send whoever opens the gateway's address in a browser to the documentation."""
    return RedirectResponse("docs", status_code=302)


@router.get("/openapi.json")
async def openapi_document(services: Services) -> JSONResponse:
    """Return the description of the whole API."""
    return JSONResponse(await services.describing.document(), headers={"Cache-Control": "public, max-age=30"})


@router.get("/docs")
async def docs(services: Services) -> HTMLResponse:
    """Return the documentation page."""
    policy = _DOCS_POLICY.format(public_origin=services.public_origin)
    return HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": policy})


@router.get("/docs/assets/{name}")
async def asset(name: str, request: Request) -> Response:
    """Return a script or style of the documentation page."""
    if name not in _MEDIA_TYPES:
        return problem_response(404, "not_found", "There is no such page.")
    content, etag = _asset(name)
    headers = {"ETag": etag, "Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = _compressed(name)
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=_MEDIA_TYPES[name], headers=headers)


@router.get("/health/services")
async def services_health(services: Services) -> JSONResponse:
    """Return how all services are: 200 when all are well, else 503."""
    report = await services.overseeing.report()
    return JSONResponse(report, status_code=200 if report["status"] == "ok" else 503)


@cache
def _asset(name: str) -> tuple[bytes, str]:
    content = (_ASSETS / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(_asset(name)[0], compresslevel=6, mtime=0)
