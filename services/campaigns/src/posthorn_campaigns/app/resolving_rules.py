"""From the rules that people have written to rules that can be applied: other segments in the places of their names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import UnitOfWork
from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.campaigns import Campaign
from posthorn_campaigns.domain.reading_rules import expanded, read_rule
from posthorn_campaigns.domain.rules import OnList, Rule, SubscriptionStatus
from posthorn_campaigns.domain.segments import Audience, PinnedRules


async def types_of(uow: UnitOfWork, organisation_id: UUID) -> dict[str, AttributeType]:
    """Return the types of the organisation's declared attributes."""
    return {key: declared.type for key, declared in (await uow.attributes.declared(organisation_id)).items()}


async def rule_of_segment(uow: UnitOfWork, organisation_id: UUID, segment_id: UUID) -> Rule:
    """Return a segment's rule. Raises SegmentNotFound, RuleTooLarge, InvalidRule."""
    rules = await uow.segments.rules(organisation_id, [segment_id])
    document = expanded({"segment": str(segment_id)}, rules)
    return read_rule(document, await types_of(uow, organisation_id), is_expanded=True).rule


async def pinned_rules(uow: UnitOfWork, campaign: Campaign) -> PinnedRules:
    """Return the rules of a campaign's segments as they are now. Raises SegmentNotFound, RuleTooLarge, InvalidRule."""
    ids = (*campaign.segment_ids, *campaign.exclude_segment_ids)
    rules = await uow.segments.rules(campaign.organisation_id, ids)
    types = await types_of(uow, campaign.organisation_id) if ids else {}
    pinned = PinnedRules(
        types={key: kind.value for key, kind in types.items()},
        include=tuple(expanded({"segment": str(each)}, rules) for each in campaign.segment_ids),
        exclude=tuple(expanded({"segment": str(each)}, rules) for each in campaign.exclude_segment_ids),
    )
    for document in (*pinned.include, *pinned.exclude):
        read_rule(document, types, is_expanded=True)
    return pinned


def audience_of(campaign: Campaign, pinned: PinnedRules, at: datetime) -> Audience:
    """Return whom the campaign goes to; relative dates refer to `at`."""
    types = {key: AttributeType(kind) for key, kind in pinned.types.items()}
    return Audience(
        organisation_id=campaign.organisation_id,
        at=at,
        list_ids=campaign.list_ids,
        rules=tuple(_rule(document, types) for document in pinned.include),
        excluded=(
            *(OnList(list_id, SubscriptionStatus.SUBSCRIBED) for list_id in campaign.exclude_list_ids),
            *(_rule(document, types) for document in pinned.exclude),
        ),
    )


def _rule(document: Mapping[str, Any], types: Mapping[str, AttributeType]) -> Rule:
    return read_rule(document, types, is_expanded=True).rule
