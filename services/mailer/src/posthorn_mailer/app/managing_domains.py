"""Sending domains: create, look into the DNS, rotate keys, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_mailer.app.ports_domains import (
    DnsLookupFailed,
    DnsTexts,
    MakeKey,
    NewDomainsUnitOfWork,
)
from posthorn_mailer.app.ports_records import Vault
from posthorn_mailer.domain.errors import DomainExists, KeysNotVerified, TooManyDomains
from posthorn_mailer.domain.sending_domains import (
    MAX_DOMAINS,
    DkimAlgorithm,
    DkimKey,
    DnsRecord,
    KeyMaterial,
    RecordResult,
    SendingDomain,
    judge,
    key_purpose,
    names_to_ask,
    of_its_kind,
)

_SELECTOR_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """What the DNS has said about a record."""

    record: DnsRecord
    result: RecordResult
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """What the DNS has said about a domain, and what the domain is now."""

    domain: SendingDomain
    checks: tuple[RecordCheck, ...]


class ManagingDomains:
    """The use cases of sending domains."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewDomainsUnitOfWork,
        vault: Vault,
        make_key: MakeKey,
        dns: DnsTexts,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._vault = vault
        self._make_key = make_key
        self._dns = dns
        self._clock = clock

    async def create(self, organisation_id: UUID, name: str) -> SendingDomain:
        """Create a domain with its first keys. Raises DomainExists, TooManyDomains."""
        keys, sealed = self._sealed(await asyncio.to_thread(self._make_keys), generation=1)
        domain = SendingDomain(
            id=new_id(),
            organisation_id=organisation_id,
            name=name,
            keys=keys,
            checked_at=None,
            created_at=self._clock.now(),
        )
        async with self._new_unit_of_work() as uow:
            await uow.domains.lock(organisation_id)
            if await uow.domains.count(organisation_id) >= MAX_DOMAINS:
                raise TooManyDomains(MAX_DOMAINS)
            concerns("domain", domain.id)
            if not await uow.domains.add(domain, sealed):
                raise DomainExists
        return domain

    async def get(self, organisation_id: UUID, domain_id: UUID) -> SendingDomain:
        """Return a domain. Raises DomainNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.domains.get(organisation_id, domain_id)

    async def list_domains(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[SendingDomain]:
        """Return domains, in order of their ids."""
        async with self._new_unit_of_work() as uow:
            return await uow.domains.page(organisation_id, after, limit)

    async def verify(self, organisation_id: UUID, domain_id: UUID) -> DomainCheck:
        """Look up the domain's records. Keys that are found sign from now on, others do not. Raises DomainNotFound."""
        domain = await self.get(organisation_id, domain_id)
        checks = await asyncio.gather(*(self._check(record) for record in domain.records()))
        found = {
            check.record.key_id: check.result is RecordResult.FOUND
            for check in checks
            if check.record.key_id is not None and check.result is not RecordResult.UNKNOWN
        }
        async with self._new_unit_of_work() as uow:
            await uow.domains.lock(organisation_id)
            await uow.domains.note_check(domain, found, self._clock.now())
            checked = await uow.domains.get(organisation_id, domain_id)
        return DomainCheck(checked, tuple(checks))

    async def rotate_keys(self, organisation_id: UUID, domain_id: UUID) -> SendingDomain:
        """Add new keys; those before sign until the new ones are found in the DNS.

        Raises DomainNotFound, and KeysNotVerified while none of the newest keys is in use.
        """
        if not (await self.get(organisation_id, domain_id)).may_rotate:  # before the work, and again after it
            raise KeysNotVerified
        made = await asyncio.to_thread(self._make_keys)
        async with self._new_unit_of_work() as uow:
            await uow.domains.lock(organisation_id)
            domain = await uow.domains.get(organisation_id, domain_id)
            if not domain.may_rotate:
                raise KeysNotVerified
            keys, sealed = self._sealed(made, generation=domain.generation + 1)
            await uow.domains.add_keys(domain, keys, sealed)
            return await uow.domains.get(organisation_id, domain_id)

    async def retire_keys(self, organisation_id: UUID, domain_id: UUID) -> SendingDomain:
        """Delete the keys that newer ones have superseded. Raises DomainNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.domains.lock(organisation_id)
            domain = await uow.domains.get(organisation_id, domain_id)
            await uow.domains.remove_keys(domain, [key.id for key in domain.retirable()])
            return await uow.domains.get(organisation_id, domain_id)

    async def set_unsubscribe_email(self, organisation_id: UUID, domain_id: UUID, email: str | None) -> SendingDomain:
        """Offer campaigns' recipients to unsubscribe by mail to this address, or not to. Raises DomainNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.domains.set_unsubscribe_email(organisation_id, domain_id, email)
            return await uow.domains.get(organisation_id, domain_id)

    async def delete(self, organisation_id: UUID, domain_id: UUID) -> None:
        """Delete a domain; its mail goes unsigned from now on. Raises DomainNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.domains.delete(organisation_id, domain_id)

    async def _check(self, record: DnsRecord) -> RecordCheck:
        for name in names_to_ask(record):
            try:
                found = of_its_kind(record, await self._dns.texts(name))
            except DnsLookupFailed:
                return RecordCheck(record, RecordResult.UNKNOWN, ())
            if found:
                return RecordCheck(record, judge(record, found), tuple(found))
        return RecordCheck(record, RecordResult.MISSING, ())

    def _make_keys(self) -> list[KeyMaterial]:
        return [self._make_key(algorithm) for algorithm in DkimAlgorithm]

    def _sealed(self, made: list[KeyMaterial], generation: int) -> tuple[tuple[DkimKey, ...], Mapping[UUID, bytes]]:
        """Return the keys, and their private halves by id."""
        keys: list[DkimKey] = []
        sealed: dict[UUID, bytes] = {}
        for material in made:
            key_id = new_id()
            selector = f"ph-{material.algorithm.key_type}-{key_id.hex[-_SELECTOR_CHARACTERS:]}"
            keys.append(
                DkimKey(key_id, generation, material.algorithm, selector, material.public, None, self._clock.now())
            )
            sealed[key_id] = self._vault.seal(material.private, purpose=key_purpose(key_id))
        return tuple(keys), sealed
