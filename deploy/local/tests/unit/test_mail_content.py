from __future__ import annotations

from email.message import EmailMessage

import pytest

from posthorn_local.mailcatcher.content import decoded_header, read_content, subject_and_id


def test_takes_a_message_apart():
    message = EmailMessage()
    message["Subject"] = "Grüße aus Zürich"
    message["Message-ID"] = "<1@example.org>"
    message.set_content("Hello, plain.")
    message.add_alternative("<p>Hello, <b>rich</b>.</p>", subtype="html")
    message.add_attachment(b"\x00", maintype="application", subtype="octet-stream", filename="Bericht Ö.bin")
    raw = message.as_bytes()

    content = read_content(raw)

    assert subject_and_id(raw) == ("Grüße aus Zürich", "<1@example.org>")
    assert content.text.strip() == "Hello, plain."
    assert content.html.strip() == "<p>Hello, <b>rich</b>.</p>"
    assert content.attachments == ["Bericht Ö.bin"]
    assert ("Subject", "Grüße aus Zürich") in content.headers


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no header at all",
        b"Subject: =?no-such-charset?q?x?=\r\n\r\nbody",
        b"Subject: =?utf-8?b?!!!?=\r\n\r\nbody",
        b"Subject: \xff\xfe\r\nContent-Type: text/plain; charset=no-such-charset\r\n\r\n\xff",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>never closed",
        b'Content-Type: text/plain; charset="utf-8\x00"\r\n\r\nbody',
        b"Content-Transfer-Encoding: base64\r\n\r\nnot base64 !",
    ],
)
def test_whatever_comes_is_shown_and_raises_nothing(raw):
    content = read_content(raw)
    subject, message_id = subject_and_id(raw)

    shown = "".join([subject, message_id, content.text or "", content.html or "", *sum(content.headers, ())])
    shown.encode("utf-8")


def test_a_header_is_one_line():
    assert decoded_header("=?utf-8?q?one?=\r\n\t=?utf-8?q?_two?=") == "one two"
