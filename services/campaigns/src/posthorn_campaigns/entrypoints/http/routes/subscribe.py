"""The public form of a list, and the confirmation of what was asked for there. No sign-in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, ValidationError

from posthorn_campaigns.app.subscribing import ConfirmationExpired
from posthorn_campaigns.domain.errors import ListNotFound, TooManySubscribers
from posthorn_campaigns.domain.opt_in import InvalidConfirmationToken
from posthorn_campaigns.entrypoints.http import pages
from posthorn_campaigns.entrypoints.http.deps import RemoteAddress, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import PersonName
from posthorn_common.http.fields import EmailAddress, RequestModel
from posthorn_common.http.problems import ProblemError, responses

router = APIRouter(tags=["recipients"])

_MAX_FIELDS = 10
_HTML = {"content": {"text/html": {"schema": {"type": "string"}}}}


class SubscribeRequest(RequestModel):
    email: EmailAddress
    first_name: PersonName = Field(default="", examples=["Ada"])


_SCHEMA = {
    "type": "object",
    "required": ["email"],
    "properties": {"email": {"type": "string", "format": "email"}, "first_name": {"type": "string", "maxLength": 200}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {"schema": _SCHEMA},
            "application/json": {"schema": _SCHEMA, "example": {"email": "ada@example.com", "first_name": "Ada"}},
        },
    }
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {**answer, "content": {**answer["content"], **_HTML["content"]}}  # a page for who sent the form
    for status, answer in responses(404, 422, 429).items()
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The form was taken.", **_HTML},
    202: {
        "description": "The JSON was taken.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"status": "accepted"}}},
    },
}


@router.get(
    "/s/{list_id}",
    operation_id="show_subscribe_form",
    response_class=HTMLResponse,
    responses={404: {"description": "The list has no public form.", **_HTML}, **responses(422)},
)
async def show_subscribe_form(list_id: UUID, services: Services) -> HTMLResponse:
    """Show the form of a public list."""
    try:
        return pages.ask_to_subscribe((await services.subscribing.form(list_id)).name)
    except ListNotFound:
        return pages.no_such_form()


@router.post(
    "/s/{list_id}",
    operation_id="subscribe",
    response_class=HTMLResponse,
    responses={**_ACCEPTED, **responses(400), **_REFUSED},
    openapi_extra=_BODY,
)
async def subscribe(list_id: UUID, request: Request, address: RemoteAddress, services: Services) -> Response:
    """Subscribe an address, by the form or by JSON. The answer is the same whoever is known already."""
    is_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    try:
        return await (_subscribe_by_json if is_json else _subscribe_by_form)(list_id, request, address, services)
    except (ListNotFound, TooManySubscribers) as error:
        if is_json:
            raise
        return pages.no_such_form() if isinstance(error, ListNotFound) else pages.too_often(str(error))


async def _subscribe_by_json(list_id: UUID, request: Request, address: str, services: Services) -> Response:
    try:
        wanted = SubscribeRequest.model_validate_json(await request.body())
    except ValidationError as error:
        raise ProblemError(422, "invalid_request", "An e-mail address is needed, and at most a first name.") from error
    await services.subscribing.subscribe(list_id, wanted.email, wanted.first_name, address)
    return JSONResponse({"status": "accepted"}, status_code=202)


async def _subscribe_by_form(list_id: UUID, request: Request, address: str, services: Services) -> Response:
    async with request.form(max_files=0, max_fields=_MAX_FIELDS, max_part_size=1024) as form:
        given = {"email": form.get("email") or "", "first_name": form.get("first_name") or ""}
    try:
        wanted = SubscribeRequest.model_validate(given)
    except ValidationError:
        name = (await services.subscribing.form(list_id)).name
        return pages.ask_to_subscribe(name, problem="Please look at your address again.", status=422)
    return pages.asked_to_confirm(
        (await services.subscribing.subscribe(list_id, wanted.email, wanted.first_name, address)).name
    )


@router.head("/confirm/{token}", include_in_schema=False)
@router.get(
    "/confirm/{token}",
    operation_id="show_confirmation_page",
    response_class=HTMLResponse,
    responses={code: {"description": "The link is not valid, or too old", **_HTML} for code in (404, 410)},
)
async def show_confirmation_page(token: str, services: Services) -> HTMLResponse:
    """Ask to confirm a subscription. Changes nothing."""
    try:
        return pages.ask_to_confirm(await services.subscribing.check(token))
    except InvalidConfirmationToken:
        return pages.invalid_link(404)
    except ConfirmationExpired:
        return pages.link_is_over()


@router.post(
    "/confirm/{token}",
    operation_id="confirm_subscription",
    response_class=HTMLResponse,
    responses={code: {"description": "The link is not valid, or too old", **_HTML} for code in (400, 410)},
)
async def confirm_subscription(token: str, address: RemoteAddress, services: Services) -> HTMLResponse:
    """Confirm a subscription. May be repeated, which changes nothing."""
    try:
        return pages.confirmed(await services.subscribing.confirm(token, address))
    except InvalidConfirmationToken:
        return pages.invalid_link(400)
    except ConfirmationExpired:
        return pages.link_is_over()
