"""Requests for access (GDPR Art. 15, 20): all that is known of a contact, as one archive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.erasures import HoldingService

Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""A service's records about a contact, by kind."""

_MEANINGS = {
    "campaigns/contact": "names, address, attributes, status",
    "campaigns/subscriptions": "lists, and whether subscribed to them",
    "campaigns/subscription_changes": "what has become of subscriptions: when, how, from which network address",
    "campaigns/confirmations": "confirmations that were asked for and given: the proof of consent",
    "campaigns/activities": "what has happened with messages",
    "campaigns/engagement": "when a message was last sent, opened, clicked",
    "mailer/deliveries": "messages of campaigns: to which address, with which personal fields, with what outcome",
    "mailer/messages": "single messages, such as requests for confirmation; their texts are not kept",
    "mailer/suppressions": "addresses that are not written to, and why",
    "mailer/unsubscriptions": "that no mail is wanted",
    "analytics/recipients": "opens and clicks by campaign",
    "analytics/engagements": "single opens and clicks, as long as they are kept",
}


class AccessState(StrEnum):
    """How far a request is."""

    PENDING = "pending"
    """A service is yet to answer."""
    COMPLETED = "completed"
    """The archive is there, until it expires."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A request for all that is known of a contact. `attempts` also fences: an older attempt stores nothing."""

    id: UUID
    organisation_id: UUID
    contact_id: UUID
    requested_by_kind: str
    requested_by: UUID
    state: AccessState
    attempts: int
    waits_for: str | None
    bytes_total: int
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime


def archive_of(request: AccessRequest, told: Mapping[HoldingService, Records]) -> bytes:
    """Return a ZIP archive: a JSON file for each kind of records of each service, and a README.txt."""
    files = {f"{service}/{kind}": rows for service, records in told.items() for kind, rows in records.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, request, "README.txt", _read_me(request, files))
        for name, rows in files.items():
            _write(archive, request, f"{name}.json", json.dumps(list(rows), ensure_ascii=False, indent=2, default=str))
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, request: AccessRequest, name: str, text: str) -> None:
    at = request.created_at
    # Earlier than 1980 ZIP knows no time.
    info = zipfile.ZipInfo(name, (max(at.year, 1980), at.month, at.day, at.hour, at.minute, at.second))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    archive.writestr(info, text)


def _read_me(request: AccessRequest, files: Records) -> str:
    lines = [
        "All that is stored about one contact.",
        "",
        f"Contact: {request.contact_id}",
        f"Asked for: {request.created_at.isoformat()}",
        f"Request: {request.id}",
        "",
        "Each file is JSON: a list of records. Times have their zone.",
        "",
    ]
    lines += [f"{name}.json  ({len(rows)})  {_MEANINGS.get(name, '')}".rstrip() for name, rows in files.items()]
    lines += [
        "",
        "Not in here: to which segments the contact belongs (rules, worked out anew each time), which files of imports",
        "named it (they are not kept), mail about an account of the organisation's own users, and backups.",
        "",
    ]
    return "\n".join(lines)
