"""Segments: write, try, look at, change, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.app.resolving_rules import rule_of_segment, types_of
from posthorn_campaigns.domain.audience import Contact
from posthorn_campaigns.domain.errors import InvalidRule, RuleProblem, SegmentCycle, SegmentInUse
from posthorn_campaigns.domain.reading_rules import RuleReading, expanded, read_rule
from posthorn_campaigns.domain.rules import Rule
from posthorn_campaigns.domain.segments import Segment
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id


@dataclass(frozen=True, slots=True)
class SegmentPreview:
    """Whom a rule finds now: how many, how many of them may be mailed, and some of them."""

    contacts: int
    active: int
    sample: Sequence[Contact]


class ManagingSegments:
    """The use cases of segments. Those that take a rule raise InvalidRule, RuleTooLarge and SegmentCycle."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def add(self, organisation_id: UUID, name: str, description: str, rule: dict[str, Any]) -> Segment:
        """Store a segment."""
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            await uow.segments.lock(organisation_id)
            reading, _ = await _checked(uow, organisation_id, rule, within=None)
            segment = _using(Segment(new_id(), organisation_id, name, description, rule, (), (), (), now, now), reading)
            concerns("segment", segment.id)
            await uow.segments.add(segment)
        return segment

    async def get(self, organisation_id: UUID, segment_id: UUID) -> Segment:
        """Raises SegmentNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.segments.get(organisation_id, segment_id)

    async def find(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Segment]:
        """Return segments by id, after `after`."""
        async with self._new_unit_of_work() as uow:
            return await uow.segments.page(organisation_id, after, limit)

    async def change(
        self,
        organisation_id: UUID,
        segment_id: UUID,
        *,
        name: str | None,
        description: str | None,
        rule: dict[str, Any] | None,
    ) -> Segment:
        """Change a segment; None leaves a part as it is. Raises SegmentNotFound.

        Campaigns that have started keep the rule that they started with.
        """
        async with self._new_unit_of_work() as uow:
            await uow.segments.lock(organisation_id)
            before = await uow.segments.get(organisation_id, segment_id)
            changed = replace(
                before,
                name=before.name if name is None else name,
                description=before.description if description is None else description,
                updated_at=self._clock.now(),
            )
            if rule is not None:
                reading, _ = await _checked(uow, organisation_id, rule, within=segment_id)
                changed = _using(replace(changed, rule=rule), reading)
            await uow.segments.save(changed)
        return changed

    async def delete(self, organisation_id: UUID, segment_id: UUID) -> None:
        """Delete a segment. Raises SegmentNotFound, SegmentInUse."""
        async with self._new_unit_of_work() as uow:
            await uow.segments.lock(organisation_id)
            # In this order: a campaign that is being saved holds its segments, and is seen once this got through.
            await uow.segments.delete(organisation_id, segment_id)
            if await uow.segments.is_in_use(organisation_id, segment_id):
                raise SegmentInUse

    async def preview(self, organisation_id: UUID, rule: dict[str, Any], sample: int) -> SegmentPreview:
        """Try a rule that is not stored. Raises SegmentTooSlow."""
        async with self._new_unit_of_work() as uow:
            _, applicable = await _checked(uow, organisation_id, rule, within=None)
            return await _preview(uow, organisation_id, applicable, sample)

    async def preview_stored(self, organisation_id: UUID, segment_id: UUID, sample: int) -> SegmentPreview:
        """Count a segment's contacts and show some. Raises SegmentNotFound, SegmentTooSlow."""
        async with self._new_unit_of_work() as uow:
            rule = await rule_of_segment(uow, organisation_id, segment_id)
            return await _preview(uow, organisation_id, rule, sample)


async def _preview(uow: UnitOfWork, organisation_id: UUID, rule: Rule, sample: int) -> SegmentPreview:
    contacts, active = await uow.audiences.count(organisation_id, rule)
    some = await uow.contacts.page(
        organisation_id, list_id=None, status=None, search=None, rule=rule, after=None, limit=sample
    )
    return SegmentPreview(contacts, active, some)


async def _checked(
    uow: UnitOfWork, organisation_id: UUID, document: dict[str, Any], *, within: UUID | None
) -> tuple[RuleReading, Rule]:
    """Return a rule as it was written, and as it can be applied; all that it names exists."""
    types = await types_of(uow, organisation_id)
    reading = read_rule(document, types)
    lists = set(await uow.lists.missing(organisation_id, [list_id for _, list_id in reading.lists]))
    segments = set(await uow.segments.missing(organisation_id, [segment_id for _, segment_id in reading.segments]))
    problems = [
        *(RuleProblem(path, "unknown_list", "there is no such list") for path, each in reading.lists if each in lists),
        *(
            RuleProblem(path, "unknown_segment", "there is no such segment")
            for path, each in reading.segments
            if each in segments
        ),
    ]
    if problems:
        raise InvalidRule(problems)
    rules = await uow.segments.rules(organisation_id, [segment_id for _, segment_id in reading.segments])
    for path, segment_id in reading.segments:
        try:
            expanded({"segment": str(segment_id)}, rules, within=within)
        except SegmentCycle as error:
            raise InvalidRule([RuleProblem(path, error.code, str(error))]) from error
    return reading, read_rule(expanded(document, rules, within=within), types, is_expanded=True).rule


def _using(segment: Segment, reading: RuleReading) -> Segment:
    return replace(
        segment,
        attributes=tuple(sorted(reading.attributes)),
        list_ids=tuple(dict.fromkeys(list_id for _, list_id in reading.lists)),
        segment_ids=tuple(dict.fromkeys(segment_id for _, segment_id in reading.segments)),
    )
