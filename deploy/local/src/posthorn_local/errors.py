"""What can go wrong with the local stack.

LocalStackError          the command line prints its message and exits with status 1
├── MissingProgram       something has to be installed first
└── ProcessDied          a program ended or did not become ready; carries its last log lines
"""

from __future__ import annotations


class LocalStackError(Exception):
    """A problem that a person at the terminal can understand and act on."""


class MissingProgram(LocalStackError):
    """A program the stack needs is not installed; the message says how to install it."""


class ProcessDied(LocalStackError):
    """A program ended, or did not become ready in time."""

    def __init__(self, name: str, reason: str, log_lines: list[str]) -> None:
        self.name = name
        tail = "".join(f"\n  | {line}" for line in log_lines)
        super().__init__(f"{name} {reason}.{tail}")
