"""The unsubscribe page, and one-click unsubscription by mail programs (RFC 8058). No sign-in: the token is signed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from posthorn_campaigns.entrypoints.http import pages
from posthorn_campaigns.entrypoints.http.deps import Services
from posthorn_contracts.recipient_tokens import InvalidRecipientToken

router = APIRouter(tags=["recipients"], prefix="/u", default_response_class=HTMLResponse)

PREVIEW_TOKEN = "preview"
_MAX_FIELDS = 10
_HTML = {"content": {"text/html": {"schema": {"type": "string"}}}}


@router.head("/{token}", include_in_schema=False)
@router.get(
    "/{token}",
    operation_id="show_unsubscribe_page",
    response_class=HTMLResponse,
    responses={404: {"description": "The link is not valid", **_HTML}},
)
async def show_unsubscribe_page(token: str, services: Services) -> HTMLResponse:
    """Ask the recipient to confirm. Changes nothing."""
    if token == PREVIEW_TOKEN:
        return pages.preview()
    try:
        services.unsubscribing.check(token)
    except InvalidRecipientToken:
        return pages.invalid_link(404)
    return pages.ask_to_unsubscribe(token)


@router.post(
    "/{token}",
    operation_id="unsubscribe_recipient",
    response_class=HTMLResponse,
    responses={400: {"description": "The link is not valid", **_HTML}},
    openapi_extra={
        "requestBody": {
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "List-Unsubscribe": {"type": "string", "enum": ["One-Click"]},
                            "action": {"type": "string", "enum": ["unsubscribe", "resubscribe"]},
                        },
                    }
                }
            }
        }
    },
)
async def unsubscribe_recipient(token: str, request: Request, services: Services) -> HTMLResponse:
    """Mail the recipient nothing any more; may be repeated. With `action=resubscribe` take that back."""
    if token == PREVIEW_TOKEN:
        return pages.preview()
    # Mail programs send either encoding; what they send besides does not matter.
    async with request.form(max_files=0, max_fields=_MAX_FIELDS, max_part_size=1024) as form:
        one_click = form.get("List-Unsubscribe") == "One-Click"
        undo = form.get("action") == "resubscribe" and not one_click
    try:
        if undo:
            await services.unsubscribing.resubscribe(token)
            return pages.resubscribed()
        await services.unsubscribing.unsubscribe(token, "one_click" if one_click else "page")
    except InvalidRecipientToken:
        return pages.invalid_link(400)
    return pages.unsubscribed()
