"""What replies mean: one row per case."""

from __future__ import annotations

import itertools

import pytest

from posthorn_mailer.domain.replies import (
    LONGEST_HINT_SECONDS,
    MAX_TEXT_CHARACTERS,
    RULES,
    Attempt,
    Outcome,
    Stage,
    classify,
    replied,
    retry_hint,
    unanswered,
)

_DEFERRED, _BOUNCED, _FAILED = Outcome.DEFERRED, Outcome.BOUNCED, Outcome.FAILED

CASES = [
    # stage, code, text, outcome, cause, counts the attempt, suppresses
    ("content", 250, "2.0.0 queued as 4ZX", Outcome.SENT, None, True, False),
    ("content", 354, "go on", Outcome.AMBIGUOUS, "relay", True, False),
    ("data", 250, "what?", _DEFERRED, "relay", True, False),
    # The relay itself.
    ("connect", 421, "4.3.2 too busy", _DEFERRED, "relay", False, False),
    ("connect", 554, "5.7.1 no SMTP service for you", _DEFERRED, "relay", False, False),
    ("tls", 454, "4.7.0 TLS not available", _DEFERRED, "relay", False, False),
    ("auth", 454, "4.7.0 temporary authentication failure", _DEFERRED, "relay", False, False),
    ("auth", 535, "5.7.8 bad credentials", _DEFERRED, "authentication", False, False),
    ("auth", 534, "5.7.9 application-specific password required", _DEFERRED, "authentication", False, False),
    ("mail", 530, "5.7.0 Must issue a STARTTLS command first", _DEFERRED, "authentication", False, False),
    ("mail", 550, "5.7.1 Client was not authenticated", _DEFERRED, "authentication", False, False),
    ("rcpt", 554, "5.7.1 <a@b.test>: Relay access denied", _DEFERRED, "authentication", False, False),
    ("rcpt", 550, "5.7.1 Unable to relay", _DEFERRED, "authentication", False, False),
    ("mail", 421, "closing", _DEFERRED, "relay", False, False),
    ("rcpt", 421, "4.3.2 shutting down", _DEFERRED, "relay", False, False),
    ("data", 421, "bye", _DEFERRED, "relay", False, False),
    ("content", 421, "4.3.0 try later", _DEFERRED, "relay", False, False),
    ("mail", 452, "4.3.1 insufficient system storage", _DEFERRED, "relay", False, False),
    ("mail", 451, "4.1.8 sender domain not found", _DEFERRED, "relay", True, False),
    ("mail", 550, "5.4.5 Daily sending quota exceeded", _DEFERRED, "relay", False, False),
    ("rcpt", 503, "5.5.1 bad sequence of commands", _DEFERRED, "relay", True, False),
    # A domain wants less at a time.
    ("rcpt", 451, "4.7.1 too many connections from your address", _DEFERRED, "domain", False, False),
    ("rcpt", 421, "4.7.0 unusual rate of mail", _DEFERRED, "domain", False, False),
    ("content", 421, "4.7.28 rate limited", _DEFERRED, "domain", False, False),
    ("content", 451, "4.7.650 The mail server has been temporarily rate limited", _DEFERRED, "domain", False, False),
    ("rcpt", 450, "4.2.1 The user is receiving mail too quickly", _DEFERRED, "domain", False, False),
    ("rcpt", 550, "5.2.1 The user is receiving mail at a rate that prevents it", _DEFERRED, "domain", False, False),
    ("rcpt", 451, "4.4.1 no answer from host", _DEFERRED, "domain", True, False),
    ("rcpt", 450, "4.1.2 domain not found", _DEFERRED, "domain", True, False),
    # Later.
    ("rcpt", 450, "4.7.1 Greylisted, see the postmaster's page", _DEFERRED, "recipient", False, False),
    ("rcpt", 451, "Greylisting in action, come back later", _DEFERRED, "recipient", False, False),
    ("rcpt", 450, "4.2.0 mailbox busy", _DEFERRED, "recipient", True, False),
    ("rcpt", 452, "4.2.2 mailbox full", _DEFERRED, "recipient", True, False),
    ("rcpt", 552, "mailbox full", _DEFERRED, "recipient", True, False),
    ("rcpt", 552, "5.2.2 mailbox full", _DEFERRED, "recipient", True, False),
    ("data", 451, "local error", _DEFERRED, "recipient", True, False),
    ("content", 451, "4.5.0 could not queue", _DEFERRED, "recipient", True, False),
    ("content", 452, "4.3.1 out of disk", _DEFERRED, "relay", False, False),
    # Dead addresses.
    ("rcpt", 550, "5.1.1 no such user", _BOUNCED, "recipient", True, True),
    ("content", 550, "5.1.1 no such user", _BOUNCED, "recipient", True, True),
    ("rcpt", 550, "5.1.6 mailbox has moved", _BOUNCED, "recipient", True, True),
    ("rcpt", 550, "5.1.10 RecipientNotFound", _BOUNCED, "recipient", True, True),
    ("rcpt", 550, "5.2.1 The account that you tried to reach is disabled", _BOUNCED, "recipient", True, True),
    ("rcpt", 550, "No such user here", _BOUNCED, "recipient", True, True),
    ("rcpt", 550, "Requested action not taken: user unknown", _BOUNCED, "recipient", True, True),
    ("rcpt", 554, "delivery error: This user doesn't have an account: mailbox not found", _BOUNCED, "recipient", True,
     True),
    ("rcpt", 550, "5.1.0 Unrouteable address", _BOUNCED, "recipient", True, True),
    # Refused, but that does not say that the address is dead.
    ("rcpt", 550, "5.2.1 mailbox not available", _BOUNCED, "recipient", True, False),
    ("rcpt", 550, "5.2.2 over quota", _BOUNCED, "recipient", True, False),
    ("rcpt", 550, "5.1.0 address rejected", _BOUNCED, "recipient", True, False),
    ("rcpt", 550, "5.4.1 Recipient address rejected: Access denied", _BOUNCED, "recipient", True, False),
    ("rcpt", 550, "5.1.2 bad destination system", _BOUNCED, "domain", True, False),
    ("rcpt", 550, "5.4.4 unable to route", _BOUNCED, "domain", True, False),
    ("rcpt", 550, "no", _BOUNCED, "recipient", True, False),
    # Our fault: never held against the recipient.
    ("rcpt", 550, "5.7.1 rejected by policy", _FAILED, "policy", True, False),
    ("rcpt", 550, "5.7.26 unauthenticated mail from the domain is not accepted", _FAILED, "policy", True, False),
    ("content", 550, "5.7.26 the sender is not authenticated", _FAILED, "policy", True, False),
    ("content", 550, "5.7.509 DMARC verification failed", _FAILED, "policy", True, False),
    ("rcpt", 550, "5.1.1 Service unavailable, client host blocked using Spamhaus", _FAILED, "policy", True, False),
    ("rcpt", 554, "transaction refused", _FAILED, "policy", True, False),
    ("content", 554, "message looks like spam", _FAILED, "policy", True, False),
    ("mail", 553, "5.1.8 sender domain does not exist", _FAILED, "policy", True, False),
    ("mail", 550, "sender not allowed", _FAILED, "policy", True, False),
    ("mail", 552, "5.3.4 message size exceeds fixed limit", _FAILED, "content", True, False),
    ("rcpt", 552, "5.3.4 message too big", _FAILED, "content", True, False),
    ("content", 552, "too much mail data", _FAILED, "content", True, False),
    ("content", 554, "5.6.0 cannot be parsed", _FAILED, "content", True, False),
    ("content", 500, "Line too long", _FAILED, "content", True, False),
    ("content", 554, "transaction failed", _FAILED, "content", True, False),
    ("rcpt", 553, "5.6.7 such addresses are not taken", _FAILED, "recipient", True, False),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "code", "text", "outcome", "cause", "counts", "suppress"), CASES)
def test_a_reply_is_classified_by_stage_code_and_text(
    stage: str, code: int, text: str, outcome: Outcome, cause: str | None, counts: bool, suppress: bool
) -> None:
    verdict = classify(replied(Stage(stage), code, text))
    assert (verdict.outcome, verdict.cause, verdict.counts_attempt, verdict.suppress) == (
        outcome,
        cause,
        counts,
        suppress,
    )


@pytest.mark.parametrize("stage", list(Stage))
def test_silence_is_certain_non_delivery_before_the_content_and_tells_nothing_after_it(stage: Stage) -> None:
    verdict = classify(unanswered(stage, "No reply in time"))
    assert verdict.outcome is (Outcome.AMBIGUOUS if stage is Stage.CONTENT else Outcome.DEFERRED)
    assert verdict.cause == "relay"
    assert verdict.counts_attempt is (stage is Stage.CONTENT)


@pytest.mark.parametrize("stage", list(Stage))
def test_every_refusal_has_a_meaning_and_only_those_about_recipients_suppress(stage: Stage) -> None:
    codes = (*range(400, 460), *range(500, 560), 599)
    for code, enhanced in itertools.product(codes, ("", "4.7.1 ", "5.1.1 ", "5.7.1 ", "5.0.0 ")):
        verdict = classify(replied(stage, code, f"{enhanced}no"))
        assert verdict.outcome is not Outcome.SENT
        if verdict.suppress:
            assert stage in {Stage.RCPT, Stage.DATA, Stage.CONTENT}
            assert verdict.outcome is Outcome.BOUNCED
        if verdict.outcome in {Outcome.BOUNCED, Outcome.FAILED}:
            assert verdict.counts_attempt


def test_every_rule_decides_some_case() -> None:
    deciding = {
        next(number for number, rule in enumerate(RULES) if rule.matches(attempt))
        for stage, code, text, *_ in [*CASES, ("rcpt", 535, "no", *CASES[0][3:]), *_RARE]
        if code >= 400
        for attempt in [replied(Stage(stage), code, text)]
    }
    unused = [RULES[number] for number in range(len(RULES)) if number not in deciding]
    assert unused == []


_RARE = [
    ("rcpt", 550, "5.7.8 credentials"),
    ("mail", 450, "rate limit reached"),
    ("mail", 452, "no room"),
    ("content", 554, "the message is too large"),
    ("rcpt", 555, "parameters not recognised"),
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 300 seconds", 300.0),
        ("Greylisted for 5 minutes", 300.0),
        ("please retry after 90s", 90.0),
        ("Deferred: come back in 2 hours", 7200.0),
        ("try again in 0 seconds", 1.0),
        ("try again in 999999 hours", LONGEST_HINT_SECONDS),
        ("try again later", None),
        ("queue 300 seconds full", None),
        ("mailbox full", None),
    ],
)
def test_a_relay_says_when_it_wants_us_back(text: str, seconds: float | None) -> None:
    assert retry_hint(text) == seconds
    assert classify(replied(Stage.RCPT, 450, text)).retry_after_seconds in {seconds, 300.0}


def test_a_hint_does_not_turn_a_refusal_into_a_retry() -> None:
    assert classify(replied(Stage.RCPT, 550, "5.1.1 unknown, try again in 5 minutes")).retry_after_seconds is None


def test_replies_are_kept_on_one_line_without_control_characters_and_capped() -> None:
    attempt = replied(Stage.RCPT, 550, "5.1.1 no such\n5.1.1\x00\tuser\x1b[31m\udcff" + "x" * 10_000)
    assert attempt.enhanced == "5.1.1"
    assert attempt.text.startswith("5.1.1 no such 5.1.1 user [31m xxx")
    assert len(attempt.text) == MAX_TEXT_CHARACTERS
    attempt.text.encode()


@pytest.mark.parametrize("text", ["", "5.1", "5.1.1.1 no", "3.1.1 no", "5.1.12345", "no 5.1.1"])
def test_what_only_looks_like_an_enhanced_code_is_none(text: str) -> None:
    assert replied(Stage.RCPT, 550, text) == Attempt(Stage.RCPT, 550, None, text)
