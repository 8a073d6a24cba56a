"""`/v1/access-requests`, and the archives themselves at `/access-archives/{token}`, without sign-in: tokens expire."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.access_requests import AccessRequest, AccessState
from posthorn_campaigns.entrypoints.http.deps import ContactsDiscloser, Services
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses

router = APIRouter(tags=["contacts"])

_EXAMPLE: dict[str, Any] = {
    "id": "019abb20-7c00-700a-8a5e-3f2a9c0d000a",
    "contact_id": "019abb20-7c00-7003-8a5e-3f2a9c0d0003",
    "state": "pending",
    "requested_by_kind": "user",
    "requested_by": "019abb20-7c00-7002-8a5e-3f2a9c0d0002",
    "waits_for": "mailer",
    "bytes_total": 0,
    "created_at": "2026-03-02T09:30:00Z",
    "completed_at": None,
    "expires_at": "2026-03-09T09:30:00Z",
    "download_url": None,
}


class AccessRequestAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    contact_id: UUID
    state: AccessState
    requested_by_kind: str = Field(description="`user` or `api_key`.")
    requested_by: UUID
    waits_for: str | None = Field(description="The service that did not answer when it was asked last.")
    bytes_total: int
    created_at: AwareDatetime
    completed_at: AwareDatetime | None
    expires_at: AwareDatetime = Field(description="Request and archive are deleted then.")
    download_url: str | None = Field(
        description="Gets the archive for 15 minutes, without sign-in; ask for the request again to get another. Null "
        "until the request is completed."
    )

    @classmethod
    def of(cls, request: AccessRequest, services: Container) -> Self:
        """Return the answer for a request."""
        token = services.disclosing.link_to(request)
        return cls(
            id=request.id,
            contact_id=request.contact_id,
            state=request.state,
            requested_by_kind=request.requested_by_kind,
            requested_by=request.requested_by,
            waits_for=request.waits_for,
            bytes_total=request.bytes_total,
            created_at=request.created_at,
            completed_at=request.completed_at,
            expires_at=request.expires_at,
            download_url=token and f"{services.settings.public_base}/access-archives/{token}",
        )


@router.post(
    "/v1/contacts/{contact_id}/access-requests",
    operation_id="request_access",
    status_code=202,
    responses=responses(401, 403, 404, 422),
)
async def request_access(
    contact_id: UUID, caller: ContactsDiscloser, services: Services, response: Response
) -> AccessRequestAnswer:
    """Have all that every service knows of a contact gathered into one archive, in the background.

    It is a ZIP archive of JSON files with a README.txt that explains them. While a service is away the request waits:
    there is never half an archive. Erasing the contact deletes its requests and archives.
    """
    request = await services.disclosing.ask(
        caller.organisation_id, contact_id, requested_by_kind=caller.kind, requested_by=caller.subject_id
    )
    response.headers["Location"] = f"/v1/access-requests/{request.id}"
    return AccessRequestAnswer.of(request, services)


@router.get("/v1/access-requests", operation_id="list_access_requests", responses=responses(400, 401, 403, 422))
async def list_access_requests(
    caller: ContactsDiscloser, page: Paging, services: Services
) -> Page[AccessRequestAnswer]:
    """List requests for access, newest first."""
    found = await services.disclosing.find(caller.organisation_id, id_after(page), page.limit + 1)
    items = [AccessRequestAnswer.of(request, services) for request in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.get(
    "/v1/access-requests/{access_request_id}",
    operation_id="get_access_request",
    responses=responses(401, 403, 404, 422),
)
async def get_access_request(
    access_request_id: UUID, caller: ContactsDiscloser, services: Services
) -> AccessRequestAnswer:
    """Return a request for access, and where its archive is."""
    return AccessRequestAnswer.of(await services.disclosing.get(caller.organisation_id, access_request_id), services)


@router.delete(
    "/v1/access-requests/{access_request_id}",
    operation_id="delete_access_request",
    status_code=204,
    responses=responses(401, 403, 404, 422),
)
async def delete_access_request(access_request_id: UUID, caller: ContactsDiscloser, services: Services) -> None:
    """Delete a request and its archive before it expires. Links to it answer 404."""
    await services.disclosing.drop(caller.organisation_id, access_request_id)


@router.get(
    "/access-archives/{token}",
    operation_id="download_access_archive",
    response_class=Response,
    responses={
        **responses(404),
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
async def download_access_archive(token: str, services: Services) -> Response:
    """Return the archive of a request for access. The token is part of its `download_url`."""
    request, archive = await services.disclosing.open(token)
    headers = {
        "Content-Disposition": f'attachment; filename="contact-{request.contact_id}.zip"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(archive, media_type="application/zip", headers=headers)
