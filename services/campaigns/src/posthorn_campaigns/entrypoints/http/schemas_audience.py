"""Bodies of requests and answers about contacts and lists."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Self
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from posthorn_campaigns.app.managing_contacts import ContactOnLists
from posthorn_campaigns.app.managing_lists import CountedList
from posthorn_campaigns.domain.audience import ContactStatus, language_tag
from posthorn_campaigns.domain.opt_in import OptIn
from posthorn_campaigns.domain.row_fields import MAX_NAME_CHARACTERS
from posthorn_campaigns.domain.rules import SubscriptionStatus
from posthorn_common.http.fields import EmailAddress, RequestModel, SingleLine, is_single_line


def one_line(text: str) -> str:
    """Return text that is safe in a mail header and in a query; raises for any other."""
    if not is_single_line(text):
        raise PydanticCustomError("control_characters", "must not contain line breaks or control characters")
    return text


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise PydanticCustomError("control_characters", "must hold neither NUL nor half of a surrogate pair")
    return text


PersonName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_NAME_CHARACTERS),
    AfterValidator(one_line),
]
"""A person's name, which may be empty."""

Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(_storable)]

Attributes = Annotated[
    dict[str, Any],
    Field(
        description="What templates see as `contact.attributes`: up to 200 values, nested at most 5 deep, 64 KiB.",
        examples=[{"city": "Lisbon", "plan": "pro", "visits": 12}],
    ),
]


def _language(tag: str) -> str:
    try:
        return language_tag(tag) if tag else ""
    except ValueError as error:
        raise PydanticCustomError("invalid_locale", "is not a language tag such as pt-BR") from error


def _zone(name: str) -> str:
    if name and name not in _time_zones():
        raise PydanticCustomError("invalid_time_zone", "is not a name of the IANA time zone database")
    return name


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


Locale = Annotated[
    str,
    StringConstraints(max_length=35),
    AfterValidator(_language),
    Field(description="A language tag (BCP 47).", examples=["pt-BR"]),
]
TimeZone = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_zone),
    Field(description="A name of the IANA time zone database.", examples=["America/Sao_Paulo"]),
]


class Answer(BaseModel):
    """Read from domain objects."""

    model_config = ConfigDict(from_attributes=True)


class NewContactRequest(RequestModel):
    email: EmailAddress
    first_name: PersonName = ""
    last_name: PersonName = ""
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    attributes: Attributes = Field(default_factory=dict)
    list_ids: list[UUID] = Field(default_factory=list, max_length=100, description="Lists to put the contact on.")


class ContactChangeRequest(RequestModel):
    """Fields that are not given stay as they are. An empty text empties `locale` and `time_zone`."""

    email: EmailAddress | None = None
    first_name: PersonName | None = None
    last_name: PersonName | None = None
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    attributes: Attributes | None = Field(
        default=None, description="Put over the present attributes: null removes one, others not named stay."
    )


class SuppressionAnswer(Answer):
    """That the mailer does not write to an address."""

    reason: str = Field(
        description="`complaint`, `hard_bounce`, `manual`, `import` or `unsubscribe`.", examples=["manual"]
    )
    since: AwareDatetime
    expires_at: AwareDatetime | None = Field(description="When it may be written to again; null: never by itself.")
    is_of_domain: bool = Field(description="Whether everybody at the domain is suppressed, not this very address.")


class ContactAnswer(Answer):
    id: UUID
    email: str
    first_name: str
    last_name: str
    locale: str | None
    time_zone: str | None
    attributes: dict[str, Any]
    status: ContactStatus = Field(description="Only `active` contacts are mailed, unless there is a `suppression`.")
    suppression: SuppressionAnswer | None = Field(
        description="Why the address is not written to, by the suppression list (`/v1/suppressions`); null: it is."
    )
    list_ids: list[UUID] = Field(description="The lists that the contact is subscribed to.")
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, found: ContactOnLists) -> Self:
        """Return the answer for a contact."""
        contact = found.contact
        return cls(
            id=contact.id,
            email=contact.email,
            first_name=contact.first_name,
            last_name=contact.last_name,
            locale=contact.locale,
            time_zone=contact.time_zone,
            attributes=contact.attributes,
            status=contact.status,
            suppression=None if found.suppression is None else SuppressionAnswer.model_validate(found.suppression),
            list_ids=list(found.list_ids),
            created_at=contact.created_at,
            updated_at=contact.updated_at,
        )


class ActivityAnswer(Answer):
    id: UUID
    at: AwareDatetime
    kind: str = Field(
        description="`sent`, `bounced`, `failed`, `suppressed`, `complained`, `opened`, `clicked`, "
        "`unsubscribed_from_all`, `resubscribed`, `address_suppressed`, `suppression_lifted`; about a list "
        "`unconfirmed`, `subscribed`, `unsubscribed`.",
        examples=["opened"],
    )
    campaign_id: UUID | None
    list_id: UUID | None


class SubscriptionChangeAnswer(Answer):
    list_id: UUID
    status: SubscriptionStatus
    method: str = Field(
        description="`api`, `import`, `form` (the public one), `confirmation` (link in a mail), `page` (preferences).",
        examples=["import"],
    )
    at: AwareDatetime
    remote_address: str | None = Field(description="From where on the network, if it was a person.")


class SubscriptionHistoryAnswer(BaseModel):
    items: list[SubscriptionChangeAnswer]


_OPT_IN = (
    "What the public form takes: `single` puts an address on the list at once, `double` after a click in a mail. "
    "Whoever has left before always has to confirm."
)
_IS_PUBLIC = "Whether anybody can subscribe at `/s/{list_id}`."


class NewListRequest(RequestModel):
    name: SingleLine = Field(examples=["Readers"])
    description: Description = ""
    opt_in: OptIn = Field(default=OptIn.SINGLE, description=_OPT_IN)
    is_public: bool = Field(default=False, description=_IS_PUBLIC)


class ListChangeRequest(RequestModel):
    """Fields that are not given stay as they are."""

    name: SingleLine | None = None
    description: Description | None = None
    opt_in: OptIn | None = Field(default=None, description=_OPT_IN)
    is_public: bool | None = Field(default=None, description=_IS_PUBLIC)


class ListAnswer(BaseModel):
    id: UUID
    name: str
    description: str
    opt_in: OptIn = Field(description=_OPT_IN)
    is_public: bool = Field(description=_IS_PUBLIC)
    contact_count: int = Field(description="Contacts that are subscribed, whatever their status.")
    created_at: AwareDatetime

    @classmethod
    def of(cls, found: CountedList) -> Self:
        """Return the answer for a list."""
        contact_list = found.contact_list
        return cls(
            id=contact_list.id,
            name=contact_list.name,
            description=contact_list.description,
            opt_in=contact_list.opt_in,
            is_public=contact_list.is_public,
            contact_count=found.contact_count,
            created_at=contact_list.created_at,
        )
