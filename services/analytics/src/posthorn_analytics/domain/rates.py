"""Rates of a campaign, as fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """`delivered` = sent + complained; `tried` = delivered + bounced + failed + ambiguous; a share of nothing is 0."""

    delivery: float
    bounce: float
    open: float
    click: float
    click_to_open: float
    unsubscribe: float
    complaint: float


def rates_of(counts: Mapping[str, int]) -> Rates:
    """Return the rates that follow from a campaign's counters."""
    delivered = counts["sent"] + counts["complained"]
    tried = delivered + counts["bounced"] + counts["failed"] + counts["ambiguous"]
    return Rates(
        delivery=_share(delivered, tried),
        bounce=_share(counts["bounced"], tried),
        open=_share(counts["unique_opens"], delivered),
        click=_share(counts["unique_clicks"], delivered),
        click_to_open=_share(counts["unique_clicks"], counts["unique_opens"]),
        unsubscribe=_share(counts["unsubscribes"], delivered),
        complaint=_share(counts["complained"], delivered),
    )


def _share(part: int, whole: int) -> float:
    return 0.0 if whole <= 0 else round(part / whole, 6)
