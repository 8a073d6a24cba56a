"""What the use cases of sending domains, and signing with their keys, need from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.sending_domains import DkimAlgorithm, DkimKey, KeyMaterial, SendingDomain


class SendingDomains(Protocol):
    """Stored sending domains."""

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's domains until the transaction ends."""
        ...

    async def count(self, organisation_id: UUID) -> int: ...
    async def add(self, domain: SendingDomain, sealed_keys: Mapping[UUID, bytes]) -> bool:
        """Store a domain with its keys; False if the organisation has it already."""
        ...

    async def get(self, organisation_id: UUID, domain_id: UUID) -> SendingDomain:
        """Raises DomainNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[SendingDomain]: ...
    async def add_keys(self, domain: SendingDomain, keys: Sequence[DkimKey], sealed: Mapping[UUID, bytes]) -> None: ...
    async def note_check(self, domain: SendingDomain, found: Mapping[UUID, bool], at: datetime) -> None:
        """Store which keys were found in the DNS, and which were not. A key that was found keeps the first time."""
        ...

    async def remove_keys(self, domain: SendingDomain, key_ids: Sequence[UUID]) -> None: ...
    async def set_unsubscribe_email(self, organisation_id: UUID, domain_id: UUID, email: str | None) -> None:
        """Raises DomainNotFound."""
        ...

    async def delete(self, organisation_id: UUID, domain_id: UUID) -> None:
        """Delete a domain and its keys. Raises DomainNotFound."""
        ...


class DomainsUnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def domains(self) -> SendingDomains: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


NewDomainsUnitOfWork = Callable[[], DomainsUnitOfWork]
"""Starts a unit of work."""

MakeKey = Callable[[DkimAlgorithm], KeyMaterial]
"""Makes a key. Takes its time, and may be called in a thread."""


class DnsLookupFailed(Exception):
    """The DNS has not answered; nothing is known."""


class MailHosts(Protocol):
    """MX records from the DNS."""

    async def mail_hosts(self, domain: str) -> list[str]:
        """Return the hosts that take a domain's mail, the preferred first. Raises DnsLookupFailed."""
        ...


class DnsTexts(Protocol):
    """Looks into the DNS."""

    async def texts(self, name: str) -> list[str]:
        """Return the TXT records of a name, each as one text; none if there is no such name.

        Raises DnsLookupFailed.
        """
        ...


class Signatures(Protocol):
    """Signs for an organisation."""

    def signed(self, message: OutgoingMessage) -> OutgoingMessage:
        """Return the message with signatures of its sender's domain; as it is, if that has no verified keys."""
        ...


class SigningKeys(Protocol):
    """Where the keys that sign are found."""

    async def of(self, organisation_id: UUID) -> Signatures:
        """Return what signs for an organisation now. A change of its keys may be seen a moment later."""
        ...
