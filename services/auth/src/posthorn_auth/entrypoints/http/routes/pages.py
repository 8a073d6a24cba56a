"""The pages behind links in mail about accounts. They change nothing by themselves: mail scanners look at them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(tags=["account"], prefix="/account", default_response_class=HTMLResponse)

_FOLDER = Path(__file__).parent.parent / "assets"
_STYLE = (_FOLDER / "account.css").read_text()
_SCRIPT = (_FOLDER / "account.js").read_text()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_PAGE = (_FOLDER / "account.html").read_text().replace("/*style*/", _STYLE, 1).replace("/*script*/", _SCRIPT, 1)
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


@router.head("/{page}", include_in_schema=False)
@router.get("/{page}", operation_id="show_account_page", response_class=HTMLResponse)
async def show_account_page(page: Literal["confirm-email", "reset-password", "accept-invitation"]) -> HTMLResponse:
    """Return the page behind a link. Its token stands behind the `#` of the address and reaches no server by itself."""
    return HTMLResponse(_PAGE.replace("{page}", page), headers=_HEADERS)
