"""One worker's clock is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from .fleet import WORKERS, through

_HOUR = 3600


@pytest.mark.parametrize("shift", [pytest.param(-_HOUR, id="behind"), pytest.param(_HOUR, id="ahead")])
async def test_a_worker_whose_clock_is_an_hour_off_changes_nothing(launch: Any, fleet: Any, shift: int) -> None:
    drifting = through("drifting.py", "mailer", str(shift), fleet.odd_worker())

    def prepare() -> None:
        fleet.start_odd_worker(drifting, others=WORKERS - 1)

    where = "ahead" if shift > 0 else "behind"
    try:
        flight = await launch(f"clock of a worker an hour {where}", prepare=prepare, lasting=5)
        await fleet.busy(drifting)
        await flight.ends()
    finally:
        assert drifting.stop(), "it ends in an orderly way"
