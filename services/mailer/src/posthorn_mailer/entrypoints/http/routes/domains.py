"""Sending domains."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError

from posthorn_common.addresses import InvalidAddress, domain_of, normalise_address
from posthorn_common.http.fields import EmailAddress, RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.app.managing_domains import DomainCheck
from posthorn_mailer.domain.sending_domains import (
    DkimAlgorithm,
    DnsRecord,
    DomainStatus,
    KeyState,
    RecordPurpose,
    RecordResult,
    SendingDomain,
)
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["domains"])

# Whoever may set up relays decides what mail looks like on its way.
Reader = Annotated[Principal, Depends(requires(Permission.RELAYS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RELAYS_WRITE))]

_LONGEST_DOMAIN = 218  # leaves room in a DNS name for a selector and `_domainkey`
_ANY_MAILBOX = "a@"


def _domain(text: str) -> str:
    """Return the domain as senders' addresses have it, in ASCII."""
    try:
        domain = domain_of(ascii_form(normalise_address(_ANY_MAILBOX + text)))
    except InvalidAddress:
        domain = ""
    if not domain.isascii() or "." not in domain or "@" in text:
        raise PydanticCustomError("invalid_domain", "is not a domain that mail can be sent from")
    return domain


Domain = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST_DOMAIN),
    AfterValidator(_domain),
    Field(examples=["news.example.com"]),
]


class DomainRequest(RequestModel):
    domain: Domain = Field(description="What stands after the @ of senders' addresses; each subdomain by itself.")


def _in_ascii(address: str) -> str:
    address = ascii_form(address)
    if not address.isascii():
        raise PydanticCustomError("invalid_email", "has a local part that not every mail program can write to")
    return address


class DomainChangeRequest(RequestModel):
    unsubscribe_email: Annotated[EmailAddress, AfterValidator(_in_ascii)] | None = Field(
        description="Address for unsubscribing by mail (RFC 2369): campaigns from this domain offer it besides the "
        "link. Bring the mail that comes there to `POST /v1/inbound/mail`. null: none is offered.",
        examples=["unsubscribe@bounces.example.com"],
    )


class DkimKeyAnswer(BaseModel):
    """A key that signs, or will. Its private half is never shown."""

    id: UUID
    algorithm: DkimAlgorithm
    selector: str
    state: KeyState = Field(
        description="`pending`: not found in the DNS; `signing`; `superseded`: a newer key signs, but the record must "
        "stay for mail that is under way."
    )
    verified_at: AwareDatetime | None = Field(description="Since when the key is known to be in the DNS.")
    created_at: AwareDatetime


class DnsRecordAnswer(BaseModel):
    """A DNS record to publish."""

    purpose: RecordPurpose
    required: bool = Field(description="False: advice. SPF depends on your relay, DMARC on what you want.")
    type: str = Field(examples=["TXT"])
    name: str
    value: str
    strings: list[str] = Field(description="The value in strings of at most 255 characters, as zone files need it.")
    key_id: UUID | None

    @classmethod
    def of(cls, record: DnsRecord) -> DnsRecordAnswer:
        """Return the answer for a record."""
        return cls(
            purpose=record.purpose,
            required=record.required,
            type="TXT",
            name=record.name,
            value=record.value,
            strings=list(record.strings),
            key_id=record.key_id,
        )


class DomainAnswer(BaseModel):
    """A domain that the organisation sends from."""

    id: UUID
    domain: str
    status: DomainStatus = Field(description="`verified`: mail from this domain is signed with the keys that sign.")
    keys: list[DkimKeyAnswer]
    records: list[DnsRecordAnswer]
    checked_at: AwareDatetime | None = Field(description="When the DNS was last asked.")
    unsubscribe_email: str | None = Field(description="Where campaigns' recipients may unsubscribe by mail.")
    created_at: AwareDatetime

    @classmethod
    def of(cls, domain: SendingDomain) -> DomainAnswer:
        """Return the answer for a domain."""
        keys = [
            DkimKeyAnswer(
                id=key.id,
                algorithm=key.algorithm,
                selector=key.selector,
                state=domain.state_of(key),
                verified_at=key.verified_at,
                created_at=key.created_at,
            )
            for key in domain.keys
        ]
        return cls(
            id=domain.id,
            domain=domain.name,
            status=domain.status,
            keys=keys,
            records=[DnsRecordAnswer.of(record) for record in domain.records()],
            checked_at=domain.checked_at,
            unsubscribe_email=domain.unsubscribe_email,
            created_at=domain.created_at,
        )


class RecordCheckAnswer(BaseModel):
    """What the DNS has said about one record."""

    purpose: RecordPurpose
    required: bool
    name: str
    key_id: UUID | None
    result: RecordResult = Field(
        description="`different`: there is something else, or more than one record; `unknown`: the DNS did not answer, "
        "and nothing changes."
    )
    found: list[str] = Field(description="The TXT records of this kind that are there.")


class DomainCheckAnswer(BaseModel):
    """What the DNS has said about a domain, and the domain as it is now."""

    domain: DomainAnswer
    checks: list[RecordCheckAnswer]

    @classmethod
    def of(cls, check: DomainCheck) -> DomainCheckAnswer:
        """Return the answer for a look into the DNS."""
        checks = [
            RecordCheckAnswer(
                purpose=one.record.purpose,
                required=one.record.required,
                name=one.record.name,
                key_id=one.record.key_id,
                result=one.result,
                found=list(one.found),
            )
            for one in check.checks
        ]
        return cls(domain=DomainAnswer.of(check.domain), checks=checks)


@router.get("/v1/domains", operation_id="list_domains", responses=responses(400, 401, 403))
async def list_domains(caller: Reader, page: Paging, services: Services) -> Page[DomainAnswer]:
    """List the domains that the organisation sends from."""
    found = await services.managing_domains.list_domains(caller.organisation_id, id_after(page), page.limit + 1)
    items = [DomainAnswer.of(domain) for domain in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/domains", operation_id="create_domain", status_code=201, responses=responses(401, 403, 409, 422))
async def create_domain(body: DomainRequest, caller: Writer, services: Services) -> DomainAnswer:
    """Create a domain with a key for RSA and one for Ed25519. Publish its records, then verify it."""
    return DomainAnswer.of(await services.managing_domains.create(caller.organisation_id, body.domain))


@router.get("/v1/domains/{domain_id}", operation_id="get_domain", responses=responses(401, 403, 404))
async def get_domain(domain_id: UUID, caller: Reader, services: Services) -> DomainAnswer:
    """Return a domain, its keys, and the DNS records to publish."""
    return DomainAnswer.of(await services.managing_domains.get(caller.organisation_id, domain_id))


@router.patch("/v1/domains/{domain_id}", operation_id="change_domain", responses=responses(401, 403, 404, 422))
async def change_domain(domain_id: UUID, body: DomainChangeRequest, caller: Writer, services: Services) -> DomainAnswer:
    """Say where campaigns' recipients may unsubscribe by mail. It holds for campaigns that start from now on."""
    changed = await services.managing_domains.set_unsubscribe_email(
        caller.organisation_id, domain_id, body.unsubscribe_email
    )
    return DomainAnswer.of(changed)


@router.delete(
    "/v1/domains/{domain_id}", operation_id="delete_domain", status_code=204, responses=responses(401, 403, 404)
)
async def delete_domain(domain_id: UUID, caller: Writer, services: Services) -> None:
    """Delete a domain and its keys. Mail from it goes on, unsigned."""
    await services.managing_domains.delete(caller.organisation_id, domain_id)


@router.post("/v1/domains/{domain_id}/actions/verify", operation_id="verify_domain", responses=responses(401, 403, 404))
async def verify_domain(domain_id: UUID, caller: Writer, services: Services) -> DomainCheckAnswer:
    """Look for the domain's records in the DNS, and tell what was found of each.

    Keys that are there sign within seconds. Keys that are not there, or not any more, do not sign.
    """
    return DomainCheckAnswer.of(await services.managing_domains.verify(caller.organisation_id, domain_id))


@router.post(
    "/v1/domains/{domain_id}/actions/rotate-keys",
    operation_id="rotate_domain_keys",
    responses=responses(401, 403, 404, 409),
)
async def rotate_domain_keys(domain_id: UUID, caller: Writer, services: Services) -> DomainAnswer:
    """Make new keys, with selectors of their own. The keys before go on signing until the new ones are verified."""
    return DomainAnswer.of(await services.managing_domains.rotate_keys(caller.organisation_id, domain_id))


@router.post(
    "/v1/domains/{domain_id}/actions/retire-keys",
    operation_id="retire_domain_keys",
    responses=responses(401, 403, 404),
)
async def retire_domain_keys(domain_id: UUID, caller: Writer, services: Services) -> DomainAnswer:
    """Delete keys that newer ones have superseded, some days after these have begun to sign.

    Their records may be removed from the DNS then.
    """
    return DomainAnswer.of(await services.managing_domains.retire_keys(caller.organisation_id, domain_id))
