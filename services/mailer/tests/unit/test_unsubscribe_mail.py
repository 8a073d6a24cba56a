"""Mail that unsubscribes: what the header offers, and what is taken for it when it comes in."""

from __future__ import annotations

from email import message_from_bytes
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP, default
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton
from posthorn_mailer.adapters.returned_mail import NotMail, read_returned_mail, read_unsubscribe_mail

# With a character that encoded words write otherwise.
TOKEN = RecipientToken(UUID(int=2**128 - 1), UUID(int=2**127)).sign(b"s" * 32)
assert "_" in TOKEN


def header(unsubscribe_email: str | None) -> str:
    sender = Sender(
        "Ada", "post@example.com", None, "letters", "a:b:c:d", "=_x", "https://x.test/u/", unsubscribe_email
    )
    raw = Skeleton(sender).message(Personal("grace@example.org", "Hello", "id@example.com", 0, TOKEN, b"Hi", b"Hi"))
    assert max(map(len, raw.split(b"\r\n"))) <= 200
    message = message_from_bytes(raw, policy=default)
    assert not message.defects
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return str(message["List-Unsubscribe"])


def a_mail(subject: str | Header | None, **headers: str) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Grace <grace@example.org>"
    message["To"] = "unsubscribe@bounces.example.com"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Whatever my mail program puts here.")
    raw = message.as_bytes()
    return raw if subject is None else b"Subject: " + str(subject).encode() + b"\r\n" + raw


def test_without_an_address_the_header_offers_the_link_only() -> None:
    assert header(None) == f"<https://x.test/u/{TOKEN}>"


@pytest.mark.parametrize("address", ["unsubscribe@bounces.example.com", "a+b@example.com", "odd?&%#=x@example.com"])
def test_what_the_header_offers_is_what_is_understood(address: str) -> None:
    link, _, mail = header(address).partition(", ")
    assert link == f"<https://x.test/u/{TOKEN}>", "RFC 8058 asks for the link, and programs take the first"
    # As a mail program reads a URI (RFC 6068).
    uri = urlsplit(mail.strip("<>"))
    assert (uri.scheme, unquote(uri.path)) == ("mailto", address)
    ((subject,),) = parse_qs(uri.query).values()
    raw = a_mail(subject)
    assert read_returned_mail(raw) is None
    assert read_unsubscribe_mail(raw) == TOKEN


@pytest.mark.parametrize(
    "subject",
    [
        f"unsubscribe {TOKEN}", f"  Unsubscribe\t{TOKEN}  ", f"unsubscribe\r\n {TOKEN}",
        Header(f"unsubscribe {TOKEN}", "utf-8").encode(), f"=?us-ascii?Q?unsubscribe_{TOKEN.replace('_', '=5F')}?=",
    ],
)  # fmt: skip
def test_subjects_may_be_written_in_several_ways(subject: str) -> None:
    assert read_unsubscribe_mail(a_mail(subject)) == TOKEN
    assert read_unsubscribe_mail(a_mail(subject, Auto_Submitted="no")) == TOKEN


@pytest.mark.parametrize(
    "subject",
    [None, "", "unsubscribe", TOKEN, f"Re: unsubscribe {TOKEN}", f"Out of office: unsubscribe {TOKEN}",
     f"unsubscribe {TOKEN} please", f"unsubscribe {TOKEN * 9}", "unsubscribe <token>"],
)  # fmt: skip
def test_other_mail_is_other_mail(subject: str | None) -> None:
    assert read_unsubscribe_mail(a_mail(subject)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auto-Submitted", "auto-replied"), ("Auto-Submitted", "Auto-Generated; x=y"), ("Precedence", "bulk"),
        ("Precedence", "auto_reply"), ("Return-Path", "<>"), ("List-Id", "<l.example.com>"), ("X-Autoreply", "yes"),
    ],
)  # fmt: skip
def test_what_programs_send_by_themselves_is_nobody_s_wish(name: str, value: str) -> None:
    raw = f"{name}: {value}\r\n".encode() + a_mail(f"unsubscribe {TOKEN}")
    assert read_unsubscribe_mail(raw) is None


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"Subject: ", b"Subject: =?", b"Subject: =?utf-8?b?", b"A: b\r\n"])
)
def test_whatever_comes_is_read_or_refused(raw: bytes, before: bytes) -> None:
    try:
        token = read_unsubscribe_mail(before + raw)
    except NotMail:
        return
    assert token is None or token.isascii()
