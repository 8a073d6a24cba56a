"""What a relay's reply means for a delivery.

A message is handed over in stages; how far it came and what was replied decides what becomes of the delivery. Up to the
354 that lets the content come, whatever fails is certain non-delivery. After it, silence tells nothing. Rules and the
phrases of providers are rows of `RULES`: the first that matches a refusal decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

MAX_TEXT_CHARACTERS = 500
SHORTEST_HINT_SECONDS = 1.0
LONGEST_HINT_SECONDS = 4 * 3600.0
_GREYLISTING_SECONDS = 300.0

Cause = Literal["recipient", "domain", "relay", "content", "authentication", "policy"]


class Stage(StrEnum):
    """How far a message came."""

    CONNECT = "connect"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    """The relay had answered 354: part or all of the content is on its way."""


class Outcome(StrEnum):
    """What one attempt makes of a delivery."""

    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The end of one attempt: its stage and the reply there.

    `code` is None where no reply came: refused, reset, timed out, or nonsense. `text` is the relay's, on one line and
    capped, or ours where there is no reply.
    """

    stage: Stage
    code: int | None
    enhanced: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about an attempt.

    `counts_attempt` is False where the recipient has no part in it: such attempts use up nobody's retries, only time.
    `retry_after_seconds` is the relay's own wish. `suppress`: the address is dead and must not be mailed again.
    """

    outcome: Outcome
    cause: Cause | None
    counts_attempt: bool
    retry_after_seconds: float | None = None
    suppress: bool = False


_SENT = Verdict(Outcome.SENT, None, counts_attempt=True)
_AMBIGUOUS = Verdict(Outcome.AMBIGUOUS, "relay", counts_attempt=True)
_RELAY = Verdict(Outcome.DEFERRED, "relay", counts_attempt=False)
_RELAY_REFUSES = Verdict(Outcome.DEFERRED, "relay", counts_attempt=True)
_LOGIN = Verdict(Outcome.DEFERRED, "authentication", counts_attempt=False)
_DOMAIN_SLOW = Verdict(Outcome.DEFERRED, "domain", counts_attempt=False)
_DOMAIN_AWAY = Verdict(Outcome.DEFERRED, "domain", counts_attempt=True)
_GREYLISTED = Verdict(Outcome.DEFERRED, "recipient", counts_attempt=False, retry_after_seconds=_GREYLISTING_SECONDS)
_LATER = Verdict(Outcome.DEFERRED, "recipient", counts_attempt=True)
_DEAD_ADDRESS = Verdict(Outcome.BOUNCED, "recipient", counts_attempt=True, suppress=True)
_ADDRESS_REFUSED = Verdict(Outcome.BOUNCED, "recipient", counts_attempt=True)
_NO_SUCH_DOMAIN = Verdict(Outcome.BOUNCED, "domain", counts_attempt=True)
_NOT_DELIVERABLE_HERE = Verdict(Outcome.FAILED, "recipient", counts_attempt=True)
_POLICY = Verdict(Outcome.FAILED, "policy", counts_attempt=True)
_CONTENT = Verdict(Outcome.FAILED, "content", counts_attempt=True)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: patterns on code and enhanced code match in full, the one on text anywhere; an empty one matches all."""

    verdict: Verdict
    stages: frozenset[Stage]
    code: str = ""
    enhanced: str = ""
    text: str = ""

    def matches(self, attempt: Attempt) -> bool:
        """Whether the rule speaks about this refusal."""
        return (
            attempt.stage in self.stages
            and (not self.code or re.fullmatch(self.code, str(attempt.code)) is not None)
            and (not self.enhanced or re.fullmatch(self.enhanced, attempt.enhanced or "") is not None)
            and (not self.text or re.search(self.text, attempt.text, re.IGNORECASE) is not None)
        )


_ENVELOPE = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT})
_RECIPIENT = frozenset({Stage.RCPT, Stage.DATA, Stage.CONTENT})
_RCPT = frozenset({Stage.RCPT})
_MAIL = frozenset({Stage.MAIL})
_AFTER_MAIL = _RECIPIENT
_NOT_RCPT = frozenset({Stage.MAIL, Stage.DATA, Stage.CONTENT})

# What providers write, whatever the code in front of it.
_RELAYING_DENIED = (
    r"\brelay(ing)?( access)? (is )?(denied|not (permitted|allowed))|(unable|not (allowed|permitted)) to relay"
)
_LOGIN_NEEDED = r"authentication (is )?required|must (authenticate|issue a starttls)|not authenticated|log ?in first"
_THROTTLED = (
    r"\brate[ -]?limit|throttl|too (fast|quickly)\b|too many (messages|e-?mails|connections|concurrent)|"
    r"(sending|daily|hourly|message) (rate|limit|quota)|(rate|limit|quota) (for|of) (sending|messages)|"
    r"receiving mail (at a rate|too quickly)|maximum (sending|send) rate"
)
_LISTED = (
    r"\bspam|\bdnsbl\b|\brbl\b|black ?-?list|block ?-?list|\bblocked\b|reputation|\bdmarc\b|\bspf\b|\bdkim\b|"
    r"unsolicited|\bpolicy\b|banned"
)
_UNKNOWN_USER = (
    r"(user|mailbox|recipient|account|address|alias|customer)('s)?\b.{0,40}"
    r"\b(unknown|not found|not known|does ?n[o']t exist|doesn.t exist|no longer (exists|available|valid)|"
    r"invalid|unrouteable|not a valid)"
    r"|\b(unknown|invalid|no such|non-?existent|unrouteable) (local )?"
    r"(user|mailbox|recipient|account|address|person|alias)"
    r"|no (mailbox|account|user) (here )?(by|with) that name|not our customer"
)
_DISABLED = r"disabled|inactive|deactivated|suspended|closed|terminated|discontinued"
_TOO_LARGE = r"(message|size|mail).{0,30}(too (large|big)|exceeds?|limit)"

RULES: tuple[Rule, ...] = (
    # The relay itself: nothing was said about the recipient.
    Rule(_RELAY, frozenset({Stage.CONNECT, Stage.TLS})),
    Rule(_RELAY, frozenset({Stage.AUTH}), code="4.."),
    Rule(_LOGIN, frozenset({Stage.AUTH})),
    Rule(_LOGIN, _ENVELOPE, code="53[0458]"),
    Rule(_LOGIN, _ENVELOPE, enhanced=r"[45]\.7\.(8|9|11|12|13|14)"),
    Rule(_LOGIN, _ENVELOPE, text=_RELAYING_DENIED),
    Rule(_LOGIN, _MAIL, text=_LOGIN_NEEDED),
    # Too much at a time: of this recipient domain, or altogether.
    Rule(_GREYLISTED, _AFTER_MAIL, code="4..", text=r"gr[ea]y-?list"),
    Rule(_DOMAIN_SLOW, _AFTER_MAIL, enhanced=r"4\.7\..*"),
    Rule(_RELAY, _ENVELOPE, code="421"),
    Rule(_RELAY, _ENVELOPE, enhanced=r"[45]\.4\.5", text=_THROTTLED),
    Rule(_RELAY, _MAIL, text=_THROTTLED),
    Rule(_DOMAIN_SLOW, _AFTER_MAIL, text=_THROTTLED),
    # Temporary (RFC 5321 §4.5.3.1.10: so is 552 for a recipient).
    Rule(_CONTENT, _RCPT, code="552", enhanced=r"5\.(3\.4|2\.3)"),
    Rule(_LATER, _RCPT, code="552"),
    Rule(_RELAY, _MAIL, code="4..", enhanced=r"4\.(3|7)\..*"),
    Rule(_RELAY, _MAIL, code="452"),
    Rule(_RELAY_REFUSES, _MAIL, code="4.."),
    Rule(_RELAY, _AFTER_MAIL, code="4..", enhanced=r"4\.3\..*"),
    Rule(_DOMAIN_AWAY, _AFTER_MAIL, code="4..", enhanced=r"4\.(4\..*|1\.2)"),
    Rule(_LATER, _AFTER_MAIL, code="4.."),
    # For good, because of us: what we send, or who we are. Never held against the recipient.
    Rule(_CONTENT, _ENVELOPE, enhanced=r"5\.(3\.4|2\.3)"),
    Rule(_NOT_DELIVERABLE_HERE, _ENVELOPE, enhanced=r"5\.6\.(7|9|10)"),
    Rule(_CONTENT, _ENVELOPE, enhanced=r"5\.6\..*"),
    Rule(_POLICY, _ENVELOPE, enhanced=r"5\.7\..*"),
    Rule(_POLICY, _ENVELOPE, enhanced=r"5\.1\.[78]"),
    Rule(_POLICY, _ENVELOPE, text=_LISTED),
    # For good, because of the address.
    Rule(_DEAD_ADDRESS, _RECIPIENT, enhanced=r"5\.1\.(1|3|6|10)"),
    Rule(_NO_SUCH_DOMAIN, _RECIPIENT, enhanced=r"5\.(1\.2|4\.4)"),
    Rule(_DEAD_ADDRESS, _RECIPIENT, enhanced=r"5\.2\.1", text=_DISABLED),
    Rule(_ADDRESS_REFUSED, _RECIPIENT, enhanced=r"5\.2\..*"),
    Rule(_DEAD_ADDRESS, _RECIPIENT, code="55[0134]", enhanced=r"(5\.(0\.0|1\.0|5\.0))?", text=_UNKNOWN_USER),
    Rule(_ADDRESS_REFUSED, _RECIPIENT, enhanced=r"5\.(1|4)\..*"),
    # No enhanced code, or one that says nothing: the code and the stage have to do.
    Rule(_CONTENT, _NOT_RCPT, code="552"),
    Rule(_CONTENT, _NOT_RCPT, text=_TOO_LARGE),
    Rule(_NOT_DELIVERABLE_HERE, _ENVELOPE, code="55[56]"),
    Rule(_RELAY_REFUSES, frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA}), code="50."),
    Rule(_ADDRESS_REFUSED, _RCPT, code="55[013]"),
    Rule(_POLICY, frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA})),
    Rule(_CONTENT, frozenset({Stage.CONTENT})),
)


def classify(attempt: Attempt) -> Verdict:
    """Return what the attempt means for the delivery."""
    code = attempt.code
    if code is None:
        return _AMBIGUOUS if attempt.stage is Stage.CONTENT else _RELAY
    if code < 400:
        if attempt.stage is not Stage.CONTENT:
            return _RELAY_REFUSES  # a yes where none can end the attempt: relay and we talk past one another
        return _SENT if code < 300 else _AMBIGUOUS
    verdict = next(rule.verdict for rule in RULES if rule.matches(attempt))
    if verdict.outcome is not Outcome.DEFERRED:
        return verdict
    hint = retry_hint(attempt.text)
    return verdict if hint is None else replace(verdict, retry_after_seconds=hint)


_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_HINT = re.compile(
    r"(?:again|retry|retries|wait|back|grey-?list(?:ed|ing)|gray-?list(?:ed|ing)|deferred|available)\b\D{0,30}?"
    r"(\d{1,6})\s*-?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b",
    re.IGNORECASE,
)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}


def replied(stage: Stage, code: int, message: str) -> Attempt:
    """Return the attempt that ended with this reply; lines of `message` are separated by line feeds."""
    found = _ENHANCED.match(message)
    return Attempt(stage, code, found[1] if found else None, one_line(message))


def unanswered(stage: Stage, text: str) -> Attempt:
    """Return the attempt that ended without a reply; `text` says how."""
    return Attempt(stage, None, None, one_line(text))


def one_line(text: str) -> str:
    """Return text without control characters and line breaks, capped."""
    if len(text) <= MAX_TEXT_CHARACTERS and text.isprintable():  # as most is, and much quicker found out
        return text.strip()
    return _CONTROL.sub(" ", text[: 4 * MAX_TEXT_CHARACTERS]).strip()[:MAX_TEXT_CHARACTERS]


def retry_hint(text: str) -> float | None:
    """Return after how many seconds the relay wants us back, within bounds, if it says so."""
    found = _HINT.search(text)
    if found is None:
        return None
    seconds = float(found[1]) * _UNIT_SECONDS[found[2][0].lower()]
    return min(max(seconds, SHORTEST_HINT_SECONDS), LONGEST_HINT_SECONDS)
