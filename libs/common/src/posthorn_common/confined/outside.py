"""Starting and ending confined processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO

from posthorn_common.confined.inside import READY


class DidNotStart(Exception):
    """The process has ended before it was ready; the message holds what it has said of it."""


class Confined:
    """A running process. `stdin` and `stdout` are its pipes."""

    def __init__(self, module: str) -> None:
        """Start a module of ours and wait until it is ready, some tenths of a second. Raises DidNotStart, OSError."""
        self._process = subprocess.Popen(  # noqa: S603  our own module
            (sys.executable, "-I", "-m", module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},  # there are secrets in ours
        )
        self.pid = self._process.pid
        self.stdin = _pipe(self._process.stdin)
        self.stdout = _pipe(self._process.stdout)
        if self.stdout.readline() != READY:
            problem = _pipe(self._process.stderr).read()[-2000:].decode(errors="replace")
            self.end()
            raise DidNotStart(problem)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def end(self) -> int:
        """End it at once, if it still runs; return its exit code, which is negative if a signal has ended it."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):  # what was not read any more
                _pipe(pipe).close()
        return code


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise AssertionError("all three are pipes")
    return pipe
