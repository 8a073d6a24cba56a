"""`/v1/segments`."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from posthorn_campaigns.app.managing_segments import SegmentPreview
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import Answer, Description
from posthorn_common.http.fields import RequestModel, SingleLine
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses

router = APIRouter(tags=["segments"], prefix="/v1/segments")

_RULE_EXAMPLES = [
    {
        "all": [
            {"attribute": "plan", "in": ["pro", "team"]},
            {"list": "01998f6e-7a3b-7c52-9d0e-5c1b1f0a2b3c"},
            {"any": [{"engagement": "opened", "within_days": 90}, {"field": "created_at", "after": {"days_ago": 30}}]},
            {"not": {"field": "top_level_domain", "is": "test"}},
        ]
    },
    {"attribute": "renewal_date", "before": {"days_from_now": 14}},
]
RuleDocument = Annotated[
    dict[str, Any],
    Field(
        description='`{"all": […]}`, `{"any": […]}`, `{"not": …}`, '
        '`{"attribute": key, operator: value}`, `{"field": name, operator: value}`, '
        '`{"list": id, "status": "subscribed"}`, `{"engagement": "sent" | "opened" | "clicked", "within_days": 30}`, '
        '`{"segment": id}`. Operators: `is`, `in`, `contains`, `starts_with`, `ends_with`, `less_than`, `at_most`, '
        "`more_than`, `at_least`, `before`, `after`, `exists`, as the type allows. Dates may be "
        '`{"days_ago": 30}` or `{"days_from_now": 14}`. Fields: `email`, `domain`, `top_level_domain`, `first_name`, '
        "`last_name`, `locale`, `time_zone`, `status`, `created_at`. Up to 200 rules, 8 deep.",
        examples=_RULE_EXAMPLES,
    ),
]
SampleSize = Annotated[int, Query(ge=0, le=100, description="How many contacts to show.")]


class SegmentRequest(RequestModel):
    name: SingleLine = Field(examples=["Readers who open"])
    description: Description = ""
    rule: RuleDocument


class SegmentChangeRequest(RequestModel):
    """Fields that are not given stay as they are."""

    name: SingleLine | None = None
    description: Description | None = None
    rule: RuleDocument | None = None


class SegmentAnswer(Answer):
    id: UUID
    name: str
    description: str
    rule: dict[str, Any]
    created_at: AwareDatetime
    updated_at: AwareDatetime


class SegmentPreviewRequest(RequestModel):
    rule: RuleDocument
    sample: int = Field(default=10, ge=0, le=100, description="How many contacts to show.")


class SampleAnswer(Answer):
    id: UUID
    email: str
    first_name: str
    last_name: str
    status: ContactStatus


class SegmentPreviewAnswer(BaseModel):
    contacts: int = Field(description="Contacts that fulfil the rule now.")
    active: int = Field(description="Those of them that may be mailed.")
    sample: list[SampleAnswer]

    @classmethod
    def of(cls, found: SegmentPreview) -> Self:
        """Return the answer for a preview."""
        sample = [SampleAnswer.model_validate(contact) for contact in found.sample]
        return cls(contacts=found.contacts, active=found.active, sample=sample)


@router.get("", operation_id="list_segments", responses=responses(400, 401, 403, 422))
async def list_segments(caller: ContactsReader, page: Paging, services: Services) -> Page[SegmentAnswer]:
    """List the organisation's segments, oldest first."""
    found = await services.managing_segments.find(caller.organisation_id, id_after(page), page.limit + 1)
    items = [SegmentAnswer.model_validate(segment) for segment in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("", operation_id="add_segment", status_code=201, responses=responses(401, 403, 422))
async def add_segment(body: SegmentRequest, caller: ContactsWriter, services: Services) -> SegmentAnswer:
    """Write a segment: a rule that says which contacts belong to it, at each moment anew.

    A rule that makes no sense answers 422 `invalid_rule`; `errors` has every place, by `pointer` into the body.
    """
    segment = await services.managing_segments.add(caller.organisation_id, body.name, body.description, body.rule)
    return SegmentAnswer.model_validate(segment)


@router.post("/preview", operation_id="preview_rule", responses=responses(401, 403, 409, 422))
async def preview_rule(body: SegmentPreviewRequest, caller: ContactsReader, services: Services) -> SegmentPreviewAnswer:
    """Try a rule: how many contacts fulfil it now, and some of them. 409 `segment_too_slow` after ten seconds."""
    return SegmentPreviewAnswer.of(
        await services.managing_segments.preview(caller.organisation_id, body.rule, body.sample)
    )


@router.get("/{segment_id}", operation_id="get_segment", responses=responses(401, 403, 404, 422))
async def get_segment(segment_id: UUID, caller: ContactsReader, services: Services) -> SegmentAnswer:
    """Return one segment. Its contacts: `GET /v1/contacts?segment_id=`."""
    return SegmentAnswer.model_validate(await services.managing_segments.get(caller.organisation_id, segment_id))


@router.get("/{segment_id}/preview", operation_id="preview_segment", responses=responses(401, 403, 404, 409, 422))
async def preview_segment(
    segment_id: UUID, caller: ContactsReader, services: Services, sample: SampleSize = 10
) -> SegmentPreviewAnswer:
    """Return how many contacts belong to the segment now, and some of them."""
    return SegmentPreviewAnswer.of(
        await services.managing_segments.preview_stored(caller.organisation_id, segment_id, sample)
    )


@router.patch("/{segment_id}", operation_id="change_segment", responses=responses(401, 403, 404, 422))
async def change_segment(
    segment_id: UUID, body: SegmentChangeRequest, caller: ContactsWriter, services: Services
) -> SegmentAnswer:
    """Change a segment. Campaigns that have started keep the rule that they started with."""
    changed = await services.managing_segments.change(
        caller.organisation_id, segment_id, name=body.name, description=body.description, rule=body.rule
    )
    return SegmentAnswer.model_validate(changed)


@router.delete(
    "/{segment_id}", operation_id="delete_segment", status_code=204, responses=responses(401, 403, 404, 409, 422)
)
async def delete_segment(segment_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Delete a segment. Refused while a campaign that is not over, or another segment, uses it."""
    await services.managing_segments.delete(caller.organisation_id, segment_id)
