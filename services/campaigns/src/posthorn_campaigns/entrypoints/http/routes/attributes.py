"""`/v1/contact-attributes`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import Answer, Description
from posthorn_common.http.fields import RequestModel
from posthorn_common.http.problems import responses

router = APIRouter(tags=["contacts"], prefix="/v1/contact-attributes")

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
_TYPE = (
    "`date` is stored as 2026-05-01; `datetime`, given with its offset, in UTC to the second: 2026-05-01T12:30:00Z; "
    "`list` holds up to 100 strings. It cannot be changed: declare another key."
)
_REQUIRED = "A contact cannot be added without it, nor lose it. Contacts that exist stay as they are."


_INDEXED = (
    "Whether segments that compare it find their contacts by an index: worth it where a comparison fits few of very "
    "many contacts. Up to 5 attributes have one, none of type `list`. It is built in the background, and kept with "
    "every change of a contact, which then costs a little more."
)


class AttributeRequest(RequestModel):
    key: Key = Field(description="The name in `attributes`.", examples=["renewal_date"])
    type: AttributeType = Field(description=_TYPE, examples=["date"])
    required: bool = Field(default=False, description=_REQUIRED)
    indexed: bool = Field(default=False, description=_INDEXED)
    description: Description = Field(default="", examples=["When the subscription ends."])


class AttributeChangeRequest(RequestModel):
    """Fields that are not given stay as they are."""

    required: bool | None = Field(default=None, description=_REQUIRED)
    indexed: bool | None = Field(default=None, description=_INDEXED)
    description: Description | None = None


class AttributeAnswer(Answer):
    id: UUID
    key: str
    type: AttributeType = Field(description=_TYPE)
    required: bool = Field(description=_REQUIRED)
    indexed: bool = Field(description=_INDEXED)
    index_ready: bool = Field(description="Whether all contacts are in the index, so that segments use it.")
    description: str
    created_at: AwareDatetime


class AttributesAnswer(BaseModel):
    items: list[AttributeAnswer]


@router.get("", operation_id="list_contact_attributes", responses=responses(401, 403, 422))
async def list_attributes(caller: ContactsReader, services: Services) -> AttributesAnswer:
    """List the declared attributes of contacts, by key; there are 100 at most."""
    found = await services.declaring_attributes.find(caller.organisation_id)
    return AttributesAnswer(items=[AttributeAnswer.model_validate(declaration) for declaration in found])


@router.post("", operation_id="declare_contact_attribute", status_code=201, responses=responses(401, 403, 409, 422))
async def declare_attribute(body: AttributeRequest, caller: ContactsWriter, services: Services) -> AttributeAnswer:
    """Declare an attribute of contacts: from now on its values are checked, and segments can use it.

    Attributes that are not declared are kept as they come. Values that contacts have already are not changed; those of
    another type are taken for missing by segments.
    """
    declaration = await services.declaring_attributes.declare(
        caller.organisation_id,
        body.key,
        body.type,
        required=body.required,
        description=body.description,
        indexed=body.indexed,
    )
    return AttributeAnswer.model_validate(declaration)


@router.get("/{attribute_id}", operation_id="get_contact_attribute", responses=responses(401, 403, 404, 422))
async def get_attribute(attribute_id: UUID, caller: ContactsReader, services: Services) -> AttributeAnswer:
    """Return one declaration."""
    return AttributeAnswer.model_validate(await services.declaring_attributes.get(caller.organisation_id, attribute_id))


@router.patch("/{attribute_id}", operation_id="change_contact_attribute", responses=responses(401, 403, 404, 409, 422))
async def change_attribute(
    attribute_id: UUID, body: AttributeChangeRequest, caller: ContactsWriter, services: Services
) -> AttributeAnswer:
    """Change whether it is required, whether it has an index, or its description."""
    changed = await services.declaring_attributes.change(
        caller.organisation_id,
        attribute_id,
        required=body.required,
        description=body.description,
        indexed=body.indexed,
    )
    return AttributeAnswer.model_validate(changed)


@router.delete(
    "/{attribute_id}",
    operation_id="withdraw_contact_attribute",
    status_code=204,
    responses=responses(401, 403, 404, 409, 422),
)
async def withdraw_attribute(attribute_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Take a declaration back. The values that contacts have stay, unchecked. Refused while a segment uses it."""
    await services.declaring_attributes.withdraw(caller.organisation_id, attribute_id)
