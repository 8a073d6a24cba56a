"""How long the SMTP client waits, and how long it keeps a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """Seconds per stage. The defaults are those of RFC 5321 §4.5.3.2.

    A shorter wait for the last reply would make mail that the relay has taken ambiguous.
    """

    connect: float = 60.0
    greeting: float = 300.0
    tls: float = 60.0
    auth: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    content: float = 600.0
    reset: float = 30.0
    quit: float = 2.0


@dataclass(frozen=True, slots=True)
class ReuseLimits:
    """When an open connection is closed rather than used again."""

    messages: int = 500
    idle_seconds: float = 20.0
