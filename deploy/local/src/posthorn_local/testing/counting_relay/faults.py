"""What the counting relay is told to do wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Stage = Literal["connect", "mail", "rcpt", "content", "dot"]
"""`content` is right after the 354: the message was asked for and nothing of it is read. `dot`: all of it was read."""

Action = Literal["reply", "close", "silence"]
"""Answer with `reply`, close the connection without an answer, or never answer again on it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, for a share of all cases. `taken`: at `dot`, the message counts as accepted."""

    stage: Stage
    action: Action
    reply: str = ""
    share: float = 1.0
    taken: bool = False

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage) or self.action not in get_args(Action):
            raise ValueError(f"unknown fault: {self.stage} {self.action}")
        if (self.action == "reply") != bool(self.reply):
            raise ValueError("a reply, and nothing else, needs its text")

    @property
    def name(self) -> str:
        """How it is counted."""
        return f"{self.stage} {self.action}"


class Script:
    """The faults in force, and how often each has struck."""

    def __init__(self, faults: Sequence[Fault] = (), *, delay_seconds: float = 0.0, seed: int = 0) -> None:
        self.delay_seconds = delay_seconds
        self.struck: Counter[str] = Counter()
        self._faults = tuple(faults)
        self._draw = random.Random(seed).random  # noqa: S311  nothing secret

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Script:
        """Read `{"faults": […], "delay_seconds": …, "seed": …}`. Raises ValueError, TypeError."""
        faults = [Fault(**fault) for fault in document.get("faults", [])]
        return cls(faults, delay_seconds=float(document.get("delay_seconds", 0)), seed=int(document.get("seed", 0)))

    def at(self, stage: Stage) -> Fault | None:
        """Return what goes wrong at this stage, this time."""
        for fault in self._faults:
            if fault.stage == stage and self._draw() < fault.share:
                self.struck[fault.name] += 1
                return fault
        return None
