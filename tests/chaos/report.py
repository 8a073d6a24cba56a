"""What the faults have come to: a table for people, JSON for programs, one line for both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Figures:
    """One fault. `accepted` counts recipients, not messages; `in_doubt_at_most` is what the promises allow.

    `resent`: accepted again with the same Message-ID, where the policy `resend` asks for it.
    """

    fault: str
    recipients: int
    accepted: int = 0
    twice: int = 0
    resent: int = 0
    lost: int = 0
    untrue: int = 0
    ambiguous: int = 0
    in_doubt_at_most: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def over_bound(self) -> int:
        """Deliveries in doubt beyond what is allowed."""
        return max(self.ambiguous - self.in_doubt_at_most, 0)


@dataclass
class Report:
    """All faults of this run."""

    rows: list[Figures] = field(default_factory=list)

    def table(self) -> list[str]:
        """Return the lines of the table."""
        width = max((len(row.fault) for row in self.rows), default=0)
        titles = ("recipients", "accepted", "twice", "lost", "ambiguous", "allowed", "resent", "seconds")
        lines = [f"{'fault':<{width}}  " + "  ".join(f"{title:>10}" for title in titles)]
        for row in self.rows:
            values = (
                row.recipients,
                row.accepted,
                row.twice,
                row.lost,
                row.ambiguous,
                row.in_doubt_at_most,
                row.resent,
            )
            cells = [f"{value:>10,}" for value in values] + [f"{row.seconds:>10.1f}"]
            lines.append(f"{row.fault:<{width}}  " + "  ".join(cells) + ("  !" if row.problems else ""))
        return lines

    def last_line(self) -> str:
        """Return the sums, for programs."""
        return (
            f"chaos: faults={len(self.rows)} lost={sum(row.lost for row in self.rows)} "
            f"twice={sum(row.twice for row in self.rows)} ambiguous={sum(row.ambiguous for row in self.rows)} "
            f"ambiguous_over_bound={sum(row.over_bound for row in self.rows)}"
        )

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(row) for row in self.rows], indent=2) + "\n")
