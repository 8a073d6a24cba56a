"""Templates."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_campaigns.app.managing_templates import TemplateChange
from posthorn_campaigns.domain.templates import TemplateSource
from posthorn_campaigns.entrypoints.http.deps import Services
from posthorn_campaigns.entrypoints.http.schemas_campaigns import (
    PreviewAnswer,
    PreviewRequest,
    SourcePreviewRequest,
    TemplateAnswer,
    TemplateChangeRequest,
    TemplateRequest,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["templates"])

Reader = Annotated[Principal, Depends(requires(Permission.TEMPLATES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.TEMPLATES_WRITE))]


@router.get("/v1/templates", operation_id="list_templates", responses=responses(400, 401, 403, 422, 503))
async def list_templates(caller: Reader, page: Paging, services: Services) -> Page[TemplateAnswer]:
    """List the organisation's templates, newest first."""
    found = await services.managing_templates.list_templates(caller.organisation_id, id_after(page), page.limit + 1)
    items = [TemplateAnswer.of(template) for template in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post(
    "/v1/templates", operation_id="create_template", status_code=201, responses=responses(401, 403, 413, 422, 503)
)
async def create_template(body: TemplateRequest, caller: Writer, services: Services) -> TemplateAnswer:
    """Write a template. One that cannot be parsed or rendered is refused, with part and line.

    Templates know `contact.email`, `contact.first_name`, `contact.last_name`, `contact.attributes.…`,
    `campaign.name` and `unsubscribe_url`. A message without an unsubscribe link gets one at its end.
    """
    source = TemplateSource(subject=body.subject, html=body.html, text=body.text)
    return TemplateAnswer.of(await services.managing_templates.add(caller.organisation_id, body.name, source))


@router.post(
    "/v1/templates/preview", operation_id="preview_template_sources", responses=responses(401, 403, 404, 413, 422, 503)
)
async def preview_template_sources(body: SourcePreviewRequest, caller: Reader, services: Services) -> PreviewAnswer:
    """Render sources that need not be stored, for a contact or a sample."""
    source = TemplateSource(subject=body.subject, html=body.html, text=body.text)
    return PreviewAnswer.model_validate(
        await services.managing_templates.preview(caller.organisation_id, source, body.contact_id)
    )


@router.get("/v1/templates/{template_id}", operation_id="get_template", responses=responses(401, 403, 404, 422, 503))
async def get_template(template_id: UUID, caller: Reader, services: Services) -> TemplateAnswer:
    """Return the newest version of a template."""
    return TemplateAnswer.of(await services.managing_templates.get(caller.organisation_id, template_id))


@router.patch(
    "/v1/templates/{template_id}",
    operation_id="change_template",
    responses=responses(401, 403, 404, 413, 422, 503),
)
async def change_template(
    template_id: UUID, body: TemplateChangeRequest, caller: Writer, services: Services
) -> TemplateAnswer:
    """Change a template. Other sources are a new version; campaigns that have started keep theirs."""
    sent = body.changes()
    change = TemplateChange(**sent, changes_text="text" in sent)
    return TemplateAnswer.of(await services.managing_templates.change(caller.organisation_id, template_id, change))


@router.delete(
    "/v1/templates/{template_id}",
    operation_id="delete_template",
    status_code=204,
    responses=responses(401, 403, 404, 409, 422, 503),
)
async def delete_template(template_id: UUID, caller: Writer, services: Services) -> None:
    """Delete a template; 409 while a scheduled campaign uses it."""
    await services.managing_templates.delete(caller.organisation_id, template_id)


@router.post(
    "/v1/templates/{template_id}/preview",
    operation_id="preview_template",
    responses=responses(401, 403, 404, 422, 503),
)
async def preview_template(
    template_id: UUID, caller: Reader, services: Services, body: PreviewRequest | None = None
) -> PreviewAnswer:
    """Render a template for a contact or a sample, as it would be sent."""
    contact_id = body.contact_id if body else None
    rendered = await services.managing_templates.preview_stored(caller.organisation_id, template_id, contact_id)
    return PreviewAnswer.model_validate(rendered)
