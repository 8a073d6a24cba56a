"""Signatures hold for a verifier that is not ours, and only for what was signed."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from posthorn_common.clock import new_id
from posthorn_mailer.adapters.dkim import DkimSigner, SigningKey, canonical_body, load_key, make_key
from posthorn_mailer.adapters.letters import compose
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton
from posthorn_mailer.adapters.quoted_printable import quoted_printable
from posthorn_mailer.domain.messages import Letter
from posthorn_mailer.domain.sending_domains import DkimAlgorithm

DATED = datetime(2026, 1, 5, 12, 30, 45, tzinfo=UTC)
DOMAIN = "example.com"
MATERIAL = {algorithm: make_key(algorithm) for algorithm in DkimAlgorithm}
KEYS = {
    algorithm: SigningKey(f"ph-{algorithm.key_type}", load_key(made.private)) for algorithm, made in MATERIAL.items()
}
RECORDS = {
    f"ph-{made.algorithm.key_type}._domainkey.{DOMAIN}": f"v=DKIM1; k={made.algorithm.key_type}; p={made.public}"
    for made in MATERIAL.values()
}
BOTH = DkimSigner(DOMAIN, list(KEYS.values()))

text = st.text(max_size=200) | st.sampled_from(
    [
        "a\r\nBcc: b@example.com",
        "  two  spaces\t",
        " \n\n \n\n",
        "x" * 400,
        "ü" * 200,
        ".\n.\r\n.",
        "\t \n",
        "word " * 90,
    ]
)
# What passes the rules of single messages.
line = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)


Verified = Callable[[bytes, Mapping[str, str], int], list[bool]]


def campaign_message(name: str = "Ada", subject: str = "Hello", plain: str = "Hi", html: str = "<p>Hi</p>") -> bytes:
    sender = Sender(
        name,
        f"post@{DOMAIN}",
        f"answers@{DOMAIN}",
        "letters.example.com",
        "a:b:c:d",
        "=_x",
        "https://x.test/u/",
        f"bye@{DOMAIN}",
    )
    dated, bodies = int(DATED.timestamp()), (quoted_printable(plain), quoted_printable(html))
    personal = Personal("grace@example.org", subject, f"id@{DOMAIN}", dated, "token", *bodies)
    return Skeleton(sender).message(personal)


def test_the_example_of_rfc_8463_is_valid(verified_dkim: Verified) -> None:
    signature = (
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
        " d=football.example.com; i=@football.example.com;\r\n"
        " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        " subject : date : message-id : from : subject : date;\r\n"
        " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"
        " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
    )
    message = (
        "From: Joe SixPack <joe@football.example.com>\r\n"
        "To: Suzie Q <suzie@shopping.example.net>\r\n"
        "Subject: Is dinner ready?\r\n"
        "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
        "\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    )
    record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    records = {"brisbane._domainkey.football.example.com": record}
    assert verified_dkim((signature + message).encode(), records, 1) == [True]
    assert verified_dkim((signature + message.replace("dinner", "supper")).encode(), records, 1) == [False]


@given(name=text, subject=text, plain=text, html=text)
@example(name='A "quoted" \\ name', subject="Two  spaces", plain="trailing \n\ttab\t\n", html="\x0b\x0c\x85")
@example(name="", subject="", plain="", html="")
@hypothesis_settings(deadline=None)
def test_campaign_messages_carry_two_valid_signatures(
    verified_dkim: Verified, name: str, subject: str, plain: str, html: str
) -> None:
    raw = campaign_message(name, subject, plain, html)
    signed = BOTH.sign(raw)
    assert signed.endswith(raw)
    assert max(map(len, signed.split(b"\r\n"))) <= 998
    assert verified_dkim(signed, RECORDS, 2) == [True, True]


@given(name=line, subject=line, plain=lines, html=st.none() | lines)
@example(name="x", subject="Two  spaces", plain="  leading\t tab \n\n\n", html=None)
@example(name="x", subject="", plain="", html=None)
@hypothesis_settings(deadline=None)
def test_single_messages_carry_two_valid_signatures(
    verified_dkim: Verified, name: str, subject: str, plain: str, html: str | None
) -> None:
    letter = Letter("grace@example.org", name, f"post@{DOMAIN}", None, subject, html, plain)
    raw = compose(new_id(), letter, DATED).content
    assert verified_dkim(BOTH.sign(raw), RECORDS, 2) == [True, True]


@given(spaced=st.lists(st.sampled_from([b" ", b"\t", b"a", b"\r\n", b".", b"\r\n\r\n", b"="]), max_size=30))
@hypothesis_settings(deadline=None)
def test_bodies_with_odd_spaces_and_empty_lines_are_hashed_as_the_verifier_does(
    verified_dkim: Verified, spaced: list[bytes]
) -> None:
    head = f"From: post@{DOMAIN}\r\nsubject:\t odd \r\n\t folding  \r\nTo: a@example.org".encode()
    signed = BOTH.sign(head + b"\r\n\r\n" + b"".join(spaced) + b"\r\n")
    assert verified_dkim(signed, RECORDS, 2) == [True, True]


def test_examples_of_rfc_6376_are_canonical() -> None:
    assert canonical_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"
    assert canonical_body(b"") == canonical_body(b"\r\n \r\n\r\n") == b""


@pytest.mark.parametrize("algorithm", DkimAlgorithm)
def test_one_key_makes_one_signature(verified_dkim: Verified, algorithm: DkimAlgorithm) -> None:
    signed = DkimSigner(DOMAIN, [KEYS[algorithm]]).sign(campaign_message())
    assert signed.count(b"DKIM-Signature:") == 1
    assert f"a={algorithm}".encode() in signed
    assert verified_dkim(signed, RECORDS, 1) == [True]


CHANGES = {
    "sender": (b"From: Ada", b"From: Eve"),
    "second sender before": (b"From: Ada", b"From: eve@example.net\r\nFrom: Ada"),
    "second sender after": (b"Reply-To:", b"From: eve@example.net\r\nReply-To:"),
    "answers": (b"Reply-To: answers", b"Reply-To: eve"),
    "recipient": (b"To: grace", b"To: eve"),
    "subject": (b"Subject: Hello", b"Subject: Bye"),
    "date": (b"Date: Mon, 05", b"Date: Mon, 12"),
    "message id": (b"Message-ID: <id", b"Message-ID: <other"),
    "unsubscribe": (b"List-Unsubscribe: <https://x", b"List-Unsubscribe: <https://y"),
    "by mail": (b"<mailto:bye@", b"<mailto:bya@"),
    "token": (b"subject=unsubscribe%20token", b"subject=unsubscribe%20taken"),
    "one-click": (b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Two-Click"),
    "list": (b"List-Id: <letters", b"List-Id: <spam"),
    "feedback": (b"Feedback-ID: a", b"Feedback-ID: z"),
    "type": (b"multipart/alternative", b"multipart/mixed"),
    "body": (b"<p>Hi</p>", b"<p>Ho</p>"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_that_was_signed_can_be_changed(verified_dkim: Verified, change: str) -> None:
    signed = BOTH.sign(campaign_message())
    before, after = CHANGES[change]
    changed = signed.replace(before, after)
    assert changed != signed
    assert verified_dkim(changed, RECORDS, 2) == [False, False]


def test_relays_may_refold_headers_and_trim_lines(verified_dkim: Verified) -> None:
    signed = BOTH.sign(campaign_message(subject="Hello dear reader"))
    refolded = (
        signed.replace(b"Hello dear", b"Hello\r\n\tdear").replace(b"<p>Hi</p>\r\n", b"<p>Hi</p>  \r\n") + b"\r\n\r\n"
    )
    assert refolded != signed
    assert verified_dkim(refolded, RECORDS, 2) == [True, True]


def test_the_same_message_is_signed_with_the_same_bytes() -> None:
    other = DkimSigner(DOMAIN, list(KEYS.values()))
    other.sign(campaign_message(plain="something else before"))
    assert BOTH.sign(campaign_message()) == other.sign(campaign_message())


def test_messages_with_the_same_body_and_other_headers_are_all_valid(verified_dkim: Verified) -> None:
    for subject in ("One", "Two", "Three"):
        assert verified_dkim(BOTH.sign(campaign_message(subject=subject)), RECORDS, 2) == [True, True]


def test_key_records_hold_what_the_rfcs_ask_for() -> None:
    rsa, ed25519 = MATERIAL[DkimAlgorithm.RSA].public, MATERIAL[DkimAlgorithm.ED25519].public
    assert len(base64.b64decode(ed25519)) == 32
    assert re.fullmatch(r"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A[A-Za-z0-9+/]+=*", rsa)
    assert "private" not in repr(MATERIAL[DkimAlgorithm.RSA])
    assert str(MATERIAL[DkimAlgorithm.RSA].private) not in repr(MATERIAL[DkimAlgorithm.RSA])
