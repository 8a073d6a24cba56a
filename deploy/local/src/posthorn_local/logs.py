"""Following several log files at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

_POLL_SECONDS = 0.2


def follow(
    find_files: Callable[[], Sequence[Path]], *, last: int, wait: Callable[[float], None] = time.sleep
) -> Generator[tuple[str, str]]:
    """Yield (program, line): the last lines of each file, then whatever is appended, for ever.

    `find_files` is asked again and again, so that files which appear later are followed too.
    """
    positions: dict[Path, int] = {}
    first_look = True
    while True:
        for path in find_files():
            if path not in positions:
                positions[path] = _start_of_last_lines(path, last) if first_look else 0
            for line in _new_lines(path, positions):
                yield path.stem, line
        first_look = False
        wait(_POLL_SECONDS)


def _new_lines(path: Path, positions: dict[Path, int]) -> list[str]:
    with path.open("rb") as file:
        file.seek(positions[path])
        content = file.read()
    # A line that is still being written is left for the next time.
    complete = content[: content.rfind(b"\n") + 1]
    positions[path] += len(complete)
    return complete.decode("utf-8", "replace").splitlines()


def _start_of_last_lines(path: Path, count: int) -> int:
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    return len(content) - sum(len(line) for line in lines[-count:])
