"""A service's own program on a machine whose clock is wrong: `drifting.py SERVICE SECONDS run …`.

What the process reads as the time of day is shifted: by us, by our libraries, in ids and in tokens. Clocks that only
count on (monotonic, since the start of the machine) are right, as they are on a machine whose date was set wrong.
"""

from __future__ import annotations

import secrets
import sys
import time
from datetime import datetime, tzinfo
from importlib import import_module
from typing import Any, Self
from uuid import UUID


def _shift(seconds: float) -> None:
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(time.time(), tz)

    for name in ("posthorn_common.clock", "jwt.api_jwt"):
        module: Any = import_module(name)
        assert module.datetime is datetime, f"{name} has the time from elsewhere"
        module.datetime = Shifted
    ids: Any = import_module("uuid_utils.compat")
    ids.uuid7 = _uuid7


def _uuid7() -> UUID:
    """As RFC 9562 §5.7 has it."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62))


if __name__ == "__main__":
    service, seconds = sys.argv.pop(1), float(sys.argv.pop(1))
    _shift(seconds)
    import_module(f"posthorn_{service}.entrypoints.cli").main()
