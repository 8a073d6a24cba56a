"""What mail that comes back tells, and that no mail, however made, does harm."""

from __future__ import annotations

import base64
import contextlib
from uuid import UUID

import pytest

from posthorn_mailer.adapters.returned_mail import NotMail, read_returned_mail
from posthorn_mailer.domain.deliveries import TRANSITIONS, DeliveryState
from posthorn_mailer.domain.feedback import (
    Feedback,
    FeedbackType,
    bounce_verdict,
    delivery_ids,
    parsed_reply,
    state_after,
)

MESSAGE_ID = "<0123456789abcdef0123456789abcdef.fedcba9876543210fedcba9876543210@letters.example>"
STATUS = """Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; ada@example.com
Action: {action}
Status: {status}
Diagnostic-Code: {diagnostic}
"""
HEADERS = f"From: post@example.com\nSubject: Hello\nMessage-ID: {MESSAGE_ID}\n"


def a_report(*parts: tuple[str, str], kind: str = "delivery-status") -> bytes:
    """A report of these parts, each a content type (with further headers) and what it holds."""
    lines = [
        "From: MAILER-DAEMON@mx.example",
        f'Content-Type: multipart/report; report-type={kind};\n boundary="b=_1"',
        "",
        "This is MIME.",
    ]
    for content_type, content in parts:
        lines += ["--b=_1", f"Content-Type: {content_type}", "", content]
    return "\n".join([*lines, "--b=_1--", "ignored"]).encode()


def a_bounce(
    action: str = "failed", status: str = "5.1.1", diagnostic: str = "smtp; 550 5.1.1 no such user", **original: str
) -> bytes:
    return a_report(
        ("text/plain", "It did not work."),
        ("message/delivery-status", STATUS.format(action=action, status=status, diagnostic=diagnostic)),
        (original.get("kind", "message/rfc822"), original.get("content", HEADERS + "\nbody")),
    )


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers", "message/global-headers"])
def test_a_hard_bounce_is_read_with_its_reason(line_end: bytes, kind: str) -> None:
    told = read_returned_mail(a_bounce(kind=kind, content=HEADERS).replace(b"\n", line_end))
    assert told == Feedback(MESSAGE_ID, FeedbackType.HARD_BOUNCE, None, 550, "5.1.1", "no such user")
    assert delivery_ids(told.message_id) == (
        UUID("0123456789abcdef0123456789abcdef"),
        UUID("fedcba9876543210fedcba9876543210"),
    )


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("failed", "5.1.1", FeedbackType.HARD_BOUNCE),
        ("FAILED", "5.7.1 (policy)", FeedbackType.HARD_BOUNCE),
        ("failed", "4.4.7", FeedbackType.SOFT_BOUNCE),
        ("delayed", "4.2.2", FeedbackType.SOFT_BOUNCE),
        ("delivered", "2.0.0", FeedbackType.DELIVERED),
        ("relayed", "2.0.0", FeedbackType.DELIVERED),
    ],
)
def test_the_action_and_the_status_make_the_type(action: str, status: str, kind: FeedbackType) -> None:
    told = read_returned_mail(a_bounce(action, status, "x-other; whatever"))
    assert told is not None
    assert told.type is kind


def test_of_several_recipients_the_worst_counts() -> None:
    several = STATUS.format(action="delayed", status="4.2.2", diagnostic="") + "\nAction: failed\nStatus: 5.1.1\n"
    told = read_returned_mail(a_report(("message/delivery-status", several), ("message/rfc822", HEADERS)))
    assert told is not None
    assert told.type is FeedbackType.HARD_BOUNCE


def test_encoded_parts_are_decoded() -> None:
    status = base64.encodebytes(STATUS.format(action="failed", status="5.1.1", diagnostic="").encode()).decode()
    headers = HEADERS.replace("@letters", "=40letters")
    told = read_returned_mail(
        a_report(
            ("message/global-delivery-status\nContent-Transfer-Encoding: base64", status),
            ("text/rfc822-headers\nContent-Transfer-Encoding: quoted-printable", headers),
        )
    )
    assert told is not None
    assert (told.message_id, told.type) == (MESSAGE_ID, FeedbackType.HARD_BOUNCE)


@pytest.mark.parametrize(
    ("feedback_type", "is_complaint"), [("abuse", True), ("Fraud", True), ("not-spam", False), ("shape", False)]
)
def test_an_abuse_report_is_a_complaint_and_its_contrary_is_not(feedback_type: str, is_complaint: bool) -> None:
    raw = a_report(
        ("text/plain", "Somebody complains."),
        ("message/feedback-report", f"Feedback-Type: {feedback_type}\nUser-Agent: test/1\nVersion: 1\n"),
        ("message/rfc822", HEADERS + "\nbody"),
        kind="feedback-report",
    )
    told = read_returned_mail(raw)
    assert (told is not None and told.type is FeedbackType.COMPLAINT) is is_complaint


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: I am on holiday\nAuto-Submitted: auto-replied\n\nuntil Monday",
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nhello\n--x--",
        a_report(("text/plain", "no status"), ("message/rfc822", HEADERS)),
        a_report(("message/delivery-status", STATUS.format(action="failed", status="5.1.1", diagnostic=""))),
        a_report(("message/delivery-status", "Action: shrugged\n"), ("message/rfc822", HEADERS)),
        a_bounce(content="Subject: no id\n\nbody"),
    ],
)
def test_mail_that_is_no_report_about_a_message_tells_nothing(raw: bytes) -> None:
    assert read_returned_mail(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"not a header\n\nbody",
        b"Content-Type: multipart/report\n\nno boundary",
        b"X: " + b"y" * 200_000 + b"\n\nbody",
    ],
)
def test_what_is_no_mail_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(NotMail):
        read_returned_mail(raw)


_MEBIBYTE = 1024 * 1024
_REPORT = b"Content-Type: multipart/report; boundary=x\n\n"


@pytest.mark.parametrize(
    "raw",
    [
        _REPORT + b"--x\n" * (_MEBIBYTE // 4),
        _REPORT + b"--x\nContent-Type: multipart/report; boundary=x\n\n" * 20_000,
        _REPORT + b"--x\nContent-Type: message/delivery-status\n\n" + b"\n" * _MEBIBYTE,
        _REPORT + b"--x\nContent-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 60_000,
        _REPORT + b"--x\nContent-Type: message/rfc822\n\n" + b"A: b\n" * 10_000,
        _REPORT + b"--x\nContent-Transfer-Encoding: base64\nContent-Type: message/rfc822\n\n" + b"=" * _MEBIBYTE,
        _REPORT + b"\r\n" * (_MEBIBYTE // 2),
        _REPORT + b"--x" + b" " * _MEBIBYTE,
        _REPORT + b"--x\n" + b"Content-Type: a/b" + b"; a*0=b" * 5_000 + b"\n\nx",
        _REPORT + bytes(range(256)) * 4096,
    ],
    ids=range(10),
)
def test_hostile_mail_is_read_to_its_end_and_tells_nothing(raw: bytes) -> None:
    # It comes back at all: neither recursion nor quadratic work gets through a mebibyte of this.
    with contextlib.suppress(NotMail):
        assert read_returned_mail(raw) is None


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("550 5.1.1 no such user", (550, "5.1.1", "no such user")),
        ("smtp; 550-5.7.1 Blocked", (550, "5.7.1", "Blocked")),
        ("5.1.1 gone", (None, "5.1.1", "gone")),
        ("gone\r\nfor good", (None, None, "gone for good")),
        ("", (None, None, "")),
    ],
)
def test_a_reply_is_taken_apart(text: str, parsed: tuple[int | None, str | None, str]) -> None:
    assert parsed_reply(text) == parsed


@pytest.mark.parametrize("told", FeedbackType)
@pytest.mark.parametrize("state", DeliveryState)
def test_feedback_moves_deliveries_only_along_their_state_machine(state: DeliveryState, told: FeedbackType) -> None:
    after = state_after(state, told)
    assert after is None or after in TRANSITIONS[state]
    if state not in {DeliveryState.SENT, DeliveryState.AMBIGUOUS}:
        assert after is None


def test_a_dead_address_is_suppressed_and_one_that_our_own_fault_bounced_from_is_not() -> None:
    bounce = FeedbackType.HARD_BOUNCE
    assert bounce_verdict(Feedback("", bounce)).suppress
    assert bounce_verdict(Feedback("", bounce, None, 550, "5.1.1", "no such user")).suppress
    policy = bounce_verdict(Feedback("", bounce, None, 550, "5.7.1", "blocked by policy"))
    assert (policy.suppress, policy.cause) == (False, "policy")


@pytest.mark.parametrize("text", ["", "<a@b>", MESSAGE_ID.replace("0", "g"), MESSAGE_ID + "x", MESSAGE_ID * 2])
def test_other_message_ids_lead_nowhere(text: str) -> None:
    assert delivery_ids(text) is None
