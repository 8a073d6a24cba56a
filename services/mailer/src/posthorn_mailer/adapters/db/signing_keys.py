"""The private keys that sign, as PostgreSQL has them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.addresses import domain_of
from posthorn_common.secretbox import SecretBox, SecretUnreadable
from posthorn_mailer.adapters.db.tables import dkim_keys, sending_domains
from posthorn_mailer.adapters.dkim import DkimSigner, SigningKey, load_key
from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.sending_domains import key_purpose

log = structlog.get_logger(__name__)

_KEPT_SECONDS = 2.0
_KEPT_ORGANISATIONS = 1000


class SqlSigningKeys:
    """See the port SigningKeys.

    What an organisation has is kept for a moment, since every batch asks, and opened keys as long as nothing changes.
    """

    def __init__(self, engine: AsyncEngine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box
        self._kept: dict[UUID, tuple[float, DomainSignatures]] = {}

    async def of(self, organisation_id: UUID) -> DomainSignatures:
        """Return what signs for an organisation."""
        kept = self._kept.get(organisation_id)
        if kept is not None and time.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1]
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_select(organisation_id))).mappings().all()
        signatures = DomainSignatures(rows, self._box)
        if kept is not None and kept[1].key_ids == signatures.key_ids:
            signatures = kept[1]
        if len(self._kept) >= _KEPT_ORGANISATIONS:
            self._kept.clear()
        self._kept[organisation_id] = (time.monotonic(), signatures)
        return signatures


class DomainSignatures:
    """See the port Signatures. A key is opened when it is first needed."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], box: SecretBox) -> None:
        self.key_ids = [row["id"] for row in rows]
        self._box = box
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            self._rows.setdefault(row["name"], []).append(row)
        self._signers: dict[str, DkimSigner | None] = {}

    def signed(self, message: OutgoingMessage) -> OutgoingMessage:
        """Return the message, signed if its sender's domain has verified keys."""
        if not self._rows:
            return message
        domain = domain_of(ascii_form(message.envelope_from))
        if domain not in self._rows:
            return message
        if domain not in self._signers:
            self._signers[domain] = self._signer(domain)
        signer = self._signers[domain]
        return message if signer is None else message._replace(content=signer.sign(message.content))

    def _signer(self, domain: str) -> DkimSigner | None:
        keys: list[SigningKey] = []
        for row in self._rows[domain]:
            try:
                private = self._box.open(row["sealed_private_key"], purpose=key_purpose(row["id"]))
            except SecretUnreadable:  # mail goes on, as it does where nothing is published
                log.error("dkim_key_unreadable", key_id=str(row["id"]))  # noqa: TRY400  the traceback says nothing more
                continue
            keys.append(SigningKey(row["selector"], load_key(private)))
        return DkimSigner(domain, keys) if keys else None


def _select(organisation_id: UUID) -> sa.Select[Any]:
    """Return of each domain and algorithm the newest key that was found in the DNS."""
    return (
        sa.select(sending_domains.c.name, dkim_keys.c.id, dkim_keys.c.selector, dkim_keys.c.sealed_private_key)
        .join(dkim_keys, dkim_keys.c.domain_id == sending_domains.c.id)
        .where(
            sending_domains.c.organisation_id == organisation_id,
            dkim_keys.c.organisation_id == organisation_id,
            dkim_keys.c.verified_at.is_not(None),
        )
        .ext(distinct_on(sending_domains.c.name, dkim_keys.c.algorithm))
        .order_by(sending_domains.c.name, dkim_keys.c.algorithm, dkim_keys.c.generation.desc())
    )
