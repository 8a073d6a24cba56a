"""A campaign's progress as server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from posthorn_analytics.app.watching import End, Moment, Progress
from posthorn_analytics.entrypoints.http.deps import CampaignId, Reader, Services
from posthorn_analytics.entrypoints.http.schemas import ProgressAnswer
from posthorn_common.http.problems import responses

router = APIRouter(tags=["statistics"])

# Proxies must pass events on at once.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY_MILLISECONDS = 1000


def _event_schema() -> dict[str, Any]:
    """Return the schema of an event's data; what it refers to is among the document's components already."""
    schema = ProgressAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    del schema["$defs"]
    return schema


@router.get(
    "/v1/campaigns/{campaign_id}/progress",
    operation_id="watch_campaign_progress",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `progress`, at most four a second, and `end` when the campaign is over",
            "content": {"text/event-stream": {"schema": _event_schema()}},
        },
        **responses(401, 403, 404, 422, 503),
    },
)
async def watch_progress(
    campaign_id: CampaignId, caller: Reader, request: Request, services: Services
) -> StreamingResponse:
    """Stream a campaign's progress: at once, after each change, and `end` when every recipient is accounted for.

    When the stream breaks off without `end` connect again: the first event tells everything.
    """
    await services.watching.check(caller.organisation_id, campaign_id)
    state = request.app.state
    moments = services.watching.watch(caller.organisation_id, campaign_id, lambda: bool(state.draining))
    return StreamingResponse(_events(moments), media_type="text/event-stream", headers=_HEADERS)


async def _events(moments: AsyncGenerator[Moment]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(moments):
        async for moment in moments:
            yield _event(moment)


def _event(moment: Moment) -> bytes:
    match moment:
        case Progress():
            data = ProgressAnswer.of(moment).model_dump_json()
            return format_sse_event(event="progress", data_str=data, retry=_RETRY_MILLISECONDS)
        case End():
            return format_sse_event(event="end", data_str="{}")
        case _:
            return format_sse_event(comment="still here")
