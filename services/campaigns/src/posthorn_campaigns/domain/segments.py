"""Segments: named rules about contacts, and the audience that campaigns make of lists and segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.rules import Rule


@dataclass(frozen=True, slots=True)
class Segment:
    """A named rule. What it uses is known besides, so that none of it is deleted meanwhile."""

    id: UUID
    organisation_id: UUID
    name: str
    description: str
    rule: dict[str, Any]
    attributes: tuple[str, ...]
    list_ids: tuple[UUID, ...]
    segment_ids: tuple[UUID, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PinnedRules:
    """The rules of a campaign's segments as they were when it started, in JSON, and the types of attributes."""

    types: dict[str, str]
    include: tuple[dict[str, Any], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a campaign goes to: active contacts on any of the lists who fulfil any of the rules, and none excluded.

    Without lists: all contacts who fulfil any of the rules. Without rules: all on the lists. Relative dates refer to
    `at`.
    """

    organisation_id: UUID
    at: datetime
    list_ids: tuple[UUID, ...] = ()
    rules: tuple[Rule, ...] = ()
    excluded: tuple[Rule, ...] = ()
