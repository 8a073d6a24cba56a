"""The preference page of recipients. No sign-in: the token is signed."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from posthorn_campaigns.domain.audience import language_tag
from posthorn_campaigns.entrypoints.http import pages
from posthorn_campaigns.entrypoints.http.deps import RemoteAddress, Services
from posthorn_contracts.recipient_tokens import InvalidRecipientToken

router = APIRouter(tags=["recipients"], prefix="/preferences", default_response_class=HTMLResponse)

_MAX_FIELDS = 110
_HTML = {"content": {"text/html": {"schema": {"type": "string"}}}}


@router.head("/{token}", include_in_schema=False)
@router.get(
    "/{token}",
    operation_id="show_preference_page",
    response_class=HTMLResponse,
    responses={404: {"description": "The link is not valid", **_HTML}},
)
async def show_preference_page(token: str, services: Services) -> HTMLResponse:
    """Show what the recipient gets. Changes nothing."""
    try:
        return pages.preferences(await services.choosing_preferences.show(token))
    except InvalidRecipientToken:
        return pages.invalid_link(404)


@router.post(
    "/{token}",
    operation_id="save_preferences",
    response_class=HTMLResponse,
    responses={400: {"description": "The link is not valid", **_HTML}},
    openapi_extra={
        "requestBody": {
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "action": {"type": "string", "enum": ["save", "unsubscribe"]},
                            "list": {"type": "array", "items": {"type": "string", "format": "uuid"}},
                            "locale": {"type": "string"},
                        },
                    }
                }
            }
        }
    },
)
async def save_preferences(token: str, request: Request, address: RemoteAddress, services: Services) -> HTMLResponse:
    """Keep what the recipient has chosen, or mail nothing any more. May be repeated."""
    async with request.form(max_files=0, max_fields=_MAX_FIELDS, max_part_size=1024) as form:
        action, locale = str(form.get("action") or ""), str(form.get("locale") or "")
        wanted = {each for text in form.getlist("list") if (each := _id(str(text))) is not None}
    try:
        if action == "unsubscribe":
            await services.unsubscribing.unsubscribe(token, "page")
        elif action == "save":
            await services.choosing_preferences.save(token, wanted, _locale(locale), address)
        found = await services.choosing_preferences.show(token)
    except InvalidRecipientToken:
        return pages.invalid_link(400)
    return pages.preferences(found, is_saved=action in {"save", "unsubscribe"})


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _locale(text: str) -> str | None:
    try:
        return language_tag(text)
    except ValueError:
        return None
