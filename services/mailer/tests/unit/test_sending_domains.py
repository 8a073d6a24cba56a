"""The rules of sending domains: which key signs, and what a DNS record means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from posthorn_common.clock import new_id
from posthorn_mailer.domain.sending_domains import (
    DkimAlgorithm,
    DkimKey,
    DnsRecord,
    DomainStatus,
    KeyState,
    RecordPurpose,
    RecordResult,
    SendingDomain,
    judge,
    names_to_ask,
    of_its_kind,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
RSA, ED25519 = DkimAlgorithm.RSA, DkimAlgorithm.ED25519


def a_domain(*keys: tuple[int, DkimAlgorithm, bool]) -> SendingDomain:
    """A domain with keys of (generation, algorithm, verified)."""
    made = tuple(
        DkimKey(new_id(), generation, algorithm, f"s{number}", "AAAA", NOW if verified else None, NOW)
        for number, (generation, algorithm, verified) in enumerate(keys)
    )
    return SendingDomain(new_id(), new_id(), "news.example.com", made, None, NOW)


P, S, O = KeyState.PENDING, KeyState.SIGNING, KeyState.SUPERSEDED  # noqa: E741  O is old


@pytest.mark.parametrize(
    ("keys", "states", "may_rotate", "retirable"),
    [
        ([(1, RSA, False), (1, ED25519, False)], [P, P], False, []),
        ([(1, RSA, True), (1, ED25519, False)], [S, P], True, []),
        ([(1, RSA, True), (1, ED25519, True), (2, RSA, False), (2, ED25519, False)], [S, S, P, P], False, []),
        ([(1, RSA, True), (1, ED25519, True), (2, RSA, True), (2, ED25519, False)], [O, S, S, P], True, [0]),
        ([(1, RSA, True), (1, ED25519, False), (2, RSA, True), (2, ED25519, False)], [O, P, S, P], True, [0, 1]),
        ([(1, RSA, False), (1, ED25519, False), (2, RSA, True), (2, ED25519, True)], [P, P, S, S], True, [0, 1]),
        ([(1, RSA, True), (2, RSA, True), (3, RSA, True)], [O, O, S], True, [0, 1]),
    ],
)
def test_of_each_algorithm_the_newest_verified_key_signs(
    keys: list[tuple[int, DkimAlgorithm, bool]], states: list[KeyState], may_rotate: bool, retirable: list[int]
) -> None:
    domain = a_domain(*keys)
    assert [domain.state_of(key) for key in domain.keys] == states
    assert domain.may_rotate is may_rotate
    assert domain.retirable() == [domain.keys[index] for index in retirable]
    assert (domain.status is DomainStatus.VERIFIED) == (S in states)


def test_retiring_never_takes_a_key_that_signs_or_the_last_ones() -> None:
    choices = (False, True)
    for flags in ((a, b, c, d) for a in choices for b in choices for c in choices for d in choices):
        domain = a_domain(*zip((1, 1, 2, 2), (RSA, ED25519, RSA, ED25519), flags, strict=True))
        kept = [key for key in domain.keys if key not in domain.retirable()]
        assert {key.generation for key in kept} >= {2}
        signing = [key for key in domain.keys if domain.state_of(key) is S]
        after = replace(domain, keys=tuple(kept))
        assert [key for key in after.keys if after.state_of(key) is S] == signing


KEY = DnsRecord(RecordPurpose.DKIM, "s._domainkey.example.com", "v=DKIM1; k=rsa; p=MIIBAA==")
ED_KEY = replace(KEY, value="v=DKIM1; k=ed25519; p=MIIBAA==")


@pytest.mark.parametrize(
    ("record", "text", "is_right"),
    [
        (KEY, KEY.value, True),
        (KEY, "p=MIIBAA==", True),
        (KEY, " p = MII BAA== ; v=DKIM1 ;", True),
        (KEY, "v=DKIM1; k=rsa; t=y; h=sha1:sha256; s=email; p=MIIBAA==", True),
        (KEY, "v=DKIM1; k=rsa; h=sha1; p=MIIBAA==", False),
        (KEY, "v=DKIM1; k=rsa; s=tlsrpt; p=MIIBAA==", False),
        (KEY, "v=DKIM2; k=rsa; p=MIIBAA==", False),
        (KEY, "v=DKIM1; k=ed25519; p=MIIBAA==", False),
        (KEY, "v=DKIM1; k=rsa; p=", False),
        (KEY, "v=DKIM1; k=rsa", False),
        (KEY, "v=DKIM1; k=rsa; p=miibaa==", False),
        (KEY, "v=spf1 -all", False),
        (KEY, "", False),
        (ED_KEY, ED_KEY.value, True),
        (ED_KEY, "p=MIIBAA==", False),
    ],
)
def test_a_key_record_counts_when_verifiers_take_it_for_ours(record: DnsRecord, text: str, is_right: bool) -> None:
    assert judge(record, [text]) is (RecordResult.FOUND if is_right else RecordResult.DIFFERENT)
    assert judge(record, [text, text]) is RecordResult.DIFFERENT
    assert judge(record, []) is RecordResult.MISSING


def test_of_policies_one_counts_whatever_it_says() -> None:
    spf = DnsRecord(RecordPurpose.SPF, "example.com", "")
    dmarc = DnsRecord(RecordPurpose.DMARC, "_dmarc.example.com", "")
    texts = ["V=SPF1 a -all", "v=spf10 all", "x=v=spf1", "v=DMARC1;p=none", "v=DMARC1x; p=none", "site-verification=1"]
    assert of_its_kind(spf, texts) == ["V=SPF1 a -all"]
    assert of_its_kind(dmarc, texts) == ["v=DMARC1;p=none"]
    assert judge(spf, ["v=spf1 -all"]) is RecordResult.FOUND
    assert judge(spf, ["v=spf1 -all", "v=spf1 ~all"]) is RecordResult.DIFFERENT


def test_dmarc_is_looked_for_in_parent_domains_too() -> None:
    domain = a_domain((1, RSA, False))
    key, spf, dmarc = domain.records()
    assert names_to_ask(dmarc) == ["_dmarc.news.example.com", "_dmarc.example.com"]
    assert names_to_ask(spf) == ["news.example.com"]
    assert names_to_ask(key) == ["s0._domainkey.news.example.com"]
