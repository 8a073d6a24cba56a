"""What can be wrong with segments and their rules.

NotFound         SegmentNotFound
Conflict         SegmentInUse, SegmentTooSlow
Invalid          InvalidRule, SegmentCycle, RuleTooLarge
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from posthorn_campaigns.domain.errors.kinds import Conflict, Invalid, NotFound


class SegmentNotFound(NotFound):
    """There is no such segment."""

    code, noun = "segment_not_found", "segment"


class SegmentInUse(Conflict):
    """A campaign that is not over, or another segment, uses the segment."""

    code = "segment_in_use"

    def __init__(self) -> None:
        super().__init__("A campaign that is not over, or another segment, uses this segment.")


class SegmentTooSlow(Conflict):
    """The contacts of a segment cannot be counted in the time that a request has."""

    code = "segment_too_slow"

    def __init__(self) -> None:
        super().__init__("Finding these contacts takes too long. Make the rule simpler.")


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """What is wrong at one place of a rule."""

    path: tuple[str | int, ...]
    code: str
    message: str


class InvalidRule(Invalid):
    """The rule of a segment makes no sense."""

    code = "invalid_rule"

    def __init__(self, found: Sequence[RuleProblem]) -> None:
        super().__init__("The rule is not valid.")
        self.found = found

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """Each place, also as a JSON pointer (RFC 6901) into the body."""
        return tuple(
            {
                "location": ".".join(("body", *(str(part) for part in problem.path))),
                "pointer": "".join(f"/{_escaped(part)}" for part in problem.path),
                "code": problem.code,
                "message": problem.message,
            }
            for problem in self.found
        )


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


class SegmentCycle(Invalid):
    """Segments use each other in a circle."""

    code = "segment_cycle"

    def __init__(self) -> None:
        super().__init__("The rule leads back to the segment itself.")


class RuleTooLarge(Invalid):
    """A rule is too large together with those of the segments that it uses."""

    code = "rule_too_large"

    def __init__(self, rules: int, segments: int) -> None:
        super().__init__(
            f"With the segments that it uses the rule has more than {rules} parts, or leads to more than {segments} "
            "segments in a row."
        )
