"""Rules of limits: whose a domain is, who has had enough, and which limits make sense."""

from __future__ import annotations

import pytest

from posthorn_mailer.domain.errors import InvalidLimit
from posthorn_mailer.domain.limits import (
    LEAST_FULL_RATE,
    SLOWEST_RATE,
    DomainLimit,
    check_domain_limit,
    has_enough,
    slower,
)
from posthorn_mailer.domain.operators import OPERATORS, operator_of_domain, operator_of_host
from posthorn_mailer.domain.replies import Stage, classify, replied, unanswered


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("gmail.com", "google"),
        ("googlemail.com", "google"),
        ("hotmail.com", "microsoft"),
        ("msn.com", "microsoft"),
        ("aol.com", "yahoo"),
        ("me.com", "apple"),
        ("example.com", None),
        ("notgmail.com", None),
    ],
)
def test_well_known_domains_belong_to_their_operator(domain: str, operator: str | None) -> None:
    assert operator_of_domain(domain) == operator


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        ("aspmx.l.google.com.", "google"),
        ("SMTP.Google.COM.", "google"),
        ("company-com.mail.protection.outlook.com.", "microsoft"),
        ("company-com.a-v1.mx.microsoft.", "microsoft"),
        ("mta5.am0.yahoodns.net.", "yahoo"),
        ("mx01.mail.icloud.com.", "apple"),
        ("mail.example.com.", None),
        ("google.com.example.org.", None),
        ("notgoogle.com.", None),
        (".", None),
    ],
)
def test_mail_hosts_belong_to_an_operator_by_the_end_of_their_name(host: str, operator: str | None) -> None:
    assert operator_of_host(host) == operator


def test_no_operator_is_named_like_a_domain() -> None:
    assert not any("." in name for name in OPERATORS)


@pytest.mark.parametrize(
    ("stage", "code", "message", "who"),
    [
        (Stage.RCPT, 451, "4.7.0 too many messages", "domain"),
        (Stage.CONTENT, 421, "4.7.28 unusual rate of mail", "domain"),
        (Stage.RCPT, 452, "receiving mail too quickly", "domain"),
        (Stage.MAIL, 421, "4.3.2 too many messages", "relay"),
        (Stage.RCPT, 421, "closing", "relay"),
        (Stage.MAIL, 451, "4.7.1 throttled", "relay"),
        (Stage.RCPT, 451, "4.7.1 greylisted, try again in 5 minutes", None),
        (Stage.RCPT, 450, "4.2.1 mailbox busy", None),
        (Stage.RCPT, 550, "5.1.1 no such user", None),
        (Stage.CONTENT, 250, "2.0.0 queued", None),
        (Stage.CONNECT, 421, "too many connections", None),
    ],
)
def test_who_wants_mail_more_slowly_is_told_from_the_reply(
    stage: Stage, code: int, message: str, who: str | None
) -> None:
    attempt = replied(stage, code, message)
    assert has_enough(attempt, classify(attempt)) == who


def test_silence_slows_nobody_down() -> None:
    attempt = unanswered(Stage.RCPT, "The connection was lost")
    assert has_enough(attempt, classify(attempt)) is None


def test_each_time_the_pace_falls_but_never_to_nothing() -> None:
    assert slower(None, 100.0) == pytest.approx(80.0)
    assert slower(None, 0.0) == pytest.approx(LEAST_FULL_RATE * 0.8)
    assert slower(80.0, 20.0) == pytest.approx(16.0)
    assert slower(SLOWEST_RATE, 0.0) == SLOWEST_RATE


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (DomainLimit("google", None, None), "needs messages_per_second or max_connections"),
        (DomainLimit("gmail.com", 1.0, None), "is a domain of the operator google"),
        (DomainLimit("gogle", 1.0, None), "is neither a domain nor an operator"),
    ],
)
def test_a_limit_that_could_not_take_effect_is_refused(limit: DomainLimit, problem: str) -> None:
    with pytest.raises(InvalidLimit, match=problem):
        check_domain_limit(limit)


def test_domains_and_operators_can_be_limited() -> None:
    check_domain_limit(DomainLimit("google", 1.0, None))
    check_domain_limit(DomainLimit("example.com", None, 3))
