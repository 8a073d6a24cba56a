"""Sending domains: domains whose mail we sign, with what their owner publishes in the DNS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

MAX_DOMAINS = 200
"""Domains of one organisation."""

_LONGEST_STRING = 255
_SHARED_LABELS = 1


class DkimAlgorithm(StrEnum):
    """How a key signs, as RFC 6376 and RFC 8463 name it."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """What a key record calls it."""
        return self.value.partition("-")[0]


class DomainStatus(StrEnum):
    """Whether mail from the domain is signed."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    """At least one key was found in the DNS at the last look; what was found signs."""


class KeyState(StrEnum):
    """What a key is used for."""

    PENDING = "pending"
    """Nothing: it was not found in the DNS."""
    SIGNING = "signing"
    SUPERSEDED = "superseded"
    """Nothing new; its record is needed for mail that is under way."""


class RecordPurpose(StrEnum):
    """What a DNS record is for."""

    DKIM = "dkim"
    SPF = "spf"
    DMARC = "dmarc"


class RecordResult(StrEnum):
    """What was found of a record."""

    FOUND = "found"
    MISSING = "missing"
    DIFFERENT = "different"
    """There is something else, or more than the one that there must be."""
    UNKNOWN = "unknown"
    """The DNS did not answer. Nothing is concluded from that."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A new key: the private half, and the public one as `p=` of its record has it."""

    algorithm: DkimAlgorithm
    private: bytes = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A key of a domain, without its private half. Keys that were made together have the same generation."""

    id: UUID
    generation: int
    algorithm: DkimAlgorithm
    selector: str
    public_key: str
    verified_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A TXT record for the domain's owner to publish. Mail is signed without those that are not required."""

    purpose: RecordPurpose
    name: str
    value: str
    key_id: UUID | None = None

    @property
    def required(self) -> bool:
        """Whether it is ours to demand, or advice."""
        return self.purpose is RecordPurpose.DKIM

    @property
    def strings(self) -> tuple[str, ...]:
        """The value in the strings that a TXT record consists of."""
        return tuple(self.value[at : at + _LONGEST_STRING] for at in range(0, len(self.value), _LONGEST_STRING))


@dataclass(frozen=True, slots=True)
class SendingDomain:
    """A domain that an organisation sends from. The same domain may belong to several: each has its own selectors."""

    id: UUID
    organisation_id: UUID
    name: str
    keys: tuple[DkimKey, ...]
    checked_at: datetime | None
    created_at: datetime
    unsubscribe_email: str | None = None
    """Where messages of campaigns offer to be unsubscribed by mail; what comes there is brought to us."""

    @property
    def status(self) -> DomainStatus:
        """Whether mail is signed."""
        verified = any(key.verified_at is not None for key in self.keys)
        return DomainStatus.VERIFIED if verified else DomainStatus.UNVERIFIED

    @property
    def generation(self) -> int:
        """The newest generation of keys."""
        return max(key.generation for key in self.keys)

    @property
    def may_rotate(self) -> bool:
        """Whether any of the newest keys has been in use."""
        return any(key.verified_at is not None for key in self.keys if key.generation == self.generation)

    def state_of(self, key: DkimKey) -> KeyState:
        """Return what a key is used for: of each algorithm the newest one found in the DNS signs."""
        if key.verified_at is None:
            return KeyState.PENDING
        newer = any(
            other.algorithm is key.algorithm and other.generation > key.generation and other.verified_at is not None
            for other in self.keys
        )
        return KeyState.SUPERSEDED if newer else KeyState.SIGNING

    def retirable(self) -> list[DkimKey]:
        """Return the keys that are not needed any more, once nothing signed by them is under way."""
        return [
            key
            for key in self.keys
            if self.state_of(key) is KeyState.SUPERSEDED
            or (key.generation < self.generation and key.verified_at is None)
        ]

    def records(self) -> list[DnsRecord]:
        """Return what to publish, the keys first."""
        keys = [
            DnsRecord(
                RecordPurpose.DKIM,
                f"{key.selector}._domainkey.{self.name}",
                f"v=DKIM1; k={key.algorithm.key_type}; p={key.public_key}",
                key.id,
            )
            for key in self.keys
        ]
        return [
            *keys,
            DnsRecord(RecordPurpose.SPF, self.name, "v=spf1 include:<what your relay names> ~all"),
            DnsRecord(RecordPurpose.DMARC, f"_dmarc.{self.name}", "v=DMARC1; p=none"),
        ]


def names_to_ask(record: DnsRecord) -> list[str]:
    """Return the names under which a record counts, the nearest first: DMARC is inherited from parent domains."""
    if record.purpose is not RecordPurpose.DMARC:
        return [record.name]
    labels = record.name.removeprefix("_dmarc.").split(".")
    return ["_dmarc." + ".".join(labels[at:]) for at in range(len(labels) - _SHARED_LABELS)]


def of_its_kind(record: DnsRecord, texts: Sequence[str]) -> list[str]:
    """Return those TXT records of a name that serve the record's purpose; the others are none of our business."""
    if record.purpose is RecordPurpose.DKIM:
        return list(texts)
    version = "v=spf1" if record.purpose is RecordPurpose.SPF else "v=dmarc1"
    return [text for text in texts if text.replace(";", " ").lower().split(" ")[0] == version]


def judge(record: DnsRecord, found: Sequence[str]) -> RecordResult:
    """Return what the TXT records of its kind mean for a record."""
    if not found:
        return RecordResult.MISSING
    # What receivers make of several records is undefined, or an error.
    if len(found) > 1:
        return RecordResult.DIFFERENT
    is_right = record.purpose is not RecordPurpose.DKIM or _is_key(found[0], _tags(record.value))
    return RecordResult.FOUND if is_right else RecordResult.DIFFERENT


def _is_key(text: str, wanted: dict[str, str]) -> bool:
    """Whether verifiers take this key record for ours (RFC 6376 §3.6.1)."""
    tags = _tags(text)
    return (
        tags.get("v", "DKIM1") == "DKIM1"
        and tags.get("k", "rsa") == wanted["k"]
        and "".join(tags.get("p", "").split()) == wanted["p"]
        and "sha256" in tags.get("h", "sha256").replace(" ", "").split(":")
        and not {"*", "email"}.isdisjoint(tags.get("s", "*").replace(" ", "").split(":"))
    )


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def key_purpose(key_id: UUID) -> str:
    """Return what a private key is sealed for: it opens as no other key."""
    return f"dkim-key:{key_id}"
