"""What is asked for is what a mail program reads, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import compat32
from email.policy import default as default_policy
from email.utils import parseaddr
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthorn_common.clock import new_id
from posthorn_common.templating import MAX_SOURCE_BYTES
from posthorn_contracts.campaigns.internal_v1 import CampaignContent
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.press import Press, Unprintable
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton, one_line
from posthorn_mailer.adapters.quoted_printable import quoted_printable
from posthorn_mailer.app.ports_content import Recipient
from posthorn_mailer.app.ports_transport import OutgoingMessage

DATED = datetime(2026, 1, 5, 12, 30, 45, 123456, tzinfo=UTC)
SECRET = b"s" * 32
HEADERS = [
    "From", "Reply-To", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Id",
    "Feedback-ID", "Precedence", "MIME-Version", "Content-Type",
]  # fmt: skip

anything = st.text(max_size=300)
nasty = st.sampled_from(
    [
        "a\r\nBcc: victim@example.com",
        "=?utf-8?q?fake?=",
        "\u2028x",
        "long " * 80,
        "x" * 400,
        "ü" * 200,
        ".\n.\r\n.",
        "😀" * 80,
    ]
)
text = anything | nasty


def parsed(raw: bytes) -> EmailMessage:
    return BytesParser(policy=default_policy).parsebytes(raw)


def author(raw: bytes) -> tuple[str, str]:
    """The newer parser puts spaces between the encoded words of a display name, against RFC 2047 §6.2."""
    name, address = parseaddr(BytesParser(policy=compat32).parsebytes(raw)["From"])
    return "".join(str(make_header([part])) for part in decode_header(name)), address


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def normalised(value: str) -> str:
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    return lines.encode("utf-8", "replace").decode()


@given(name=text, subject=text, plain=text, html=text)
@example(name='A "quoted" \\ name', subject="Two  spaces", plain="trailing \n\ttab\t\n", html="\x00\x0b\x0c\x85")
@example(name="Ada (the first), Ltd.", subject="", plain="", html="")
def test_a_parser_finds_exactly_what_was_asked_for(name: str, subject: str, plain: str, html: str) -> None:
    sender = Sender(name, "post@example.com", "answers@example.com", "letters.example.com", "a:b:c:d", "=_x", "u/")
    raw = Skeleton(sender).message(
        Personal(
            "grace@example.org", subject, "id@example.com", int(DATED.timestamp()), "t",
            quoted_printable(plain), quoted_printable(html),
        )
    )  # fmt: skip
    message = parsed(raw)
    assert message.keys() == HEADERS
    assert not message.defects
    assert author(raw) == (one_line(name), "post@example.com")
    assert message["To"].addresses == (Address(addr_spec="grace@example.org"),)
    assert message["Subject"] == one_line(subject)
    assert message["Date"].datetime == DATED.replace(microsecond=0)
    assert body(message, "plain") == normalised(plain)
    assert body(message, "html") == normalised(html)
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    assert not any(line.startswith(b".") for line in lines)


def content(**changes: Any) -> CampaignContent:
    values: dict[str, Any] = {
        "campaign_id": new_id(),
        "organisation_id": new_id(),
        "template_version_id": new_id(),
        "name": "Letter",
        "subject": "Hello {{ contact.first_name }}",
        "html": '<p>{{ contact.first_name }}</p><a href="{{ posthorn_link(3) }}">x</a>'
        '<a href="{{ posthorn_unsubscribe_url }}">bye</a><img src="{{ posthorn_open_pixel }}">',
        "text": "Dear {{ contact.first_name }} {{ campaign.name }} {{ posthorn_link(3) }} {{ unsubscribe_url }}",
        "from_name": "Ada",
        "from_email": "post@example.com",
        "list_id": "letters.example.com",
        "track_opens": True,
        "track_clicks": True,
    }
    return CampaignContent.model_validate({**values, **changes})


class Letter:
    """A letter whose messages are made in this process: what a workshop does, without one."""

    def __init__(self, source: CampaignContent) -> None:
        self._editor = Editor(public_base="https://x.test", link_secret=SECRET)
        self._campaign_id, self._manuscript = self._editor.manuscript(source.model_dump_json())
        self._press = Press(self._manuscript)

    def compose(self, reader: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message. Raises CompositionFailed, Unprintable."""
        asked = self._editor.reader(self._campaign_id, reader, dated)
        return OutgoingMessage(self._manuscript.from_email, asked.to, self._press.message(asked), wire_ready=True)


def letter(source: CampaignContent) -> Letter:
    return Letter(source)


def recipient(**fields: Any) -> Recipient:
    return Recipient(1, new_id(), "grace@example.org", orjson.dumps(fields).decode())


def test_links_carry_the_recipients_token_and_are_not_escaped() -> None:
    source, reader = content(), recipient(first_name="<Grace>")
    token = RecipientToken(source.campaign_id, reader.contact_id).sign(SECRET)
    message = parsed(letter(source).compose(reader, DATED).content)
    assert body(message, "html") == (
        f'<p>&lt;Grace&gt;</p><a href="https://x.test/t/c/{token}/3">x</a>'
        f'<a href="https://x.test/u/{token}">bye</a><img src="https://x.test/t/o/{token}">'
    )
    assert body(message, "plain") == f"Dear <Grace> Letter https://x.test/t/c/{token}/3 https://x.test/u/{token}"
    assert message["Subject"] == "Hello <Grace>"
    assert message["List-Unsubscribe"] == f"<https://x.test/u/{token}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Message-ID"] == f"<{reader.contact_id.hex}.{source.campaign_id.hex}@example.com>"


def test_links_are_right_wherever_a_template_has_them() -> None:
    link, reader = "{{ posthorn_link(3)|safe }}", recipient(names=["Ada", "Alan"], first_name="Grace")
    loop = f"{{% for name in contact.names %}}{{{{ name }}}} has been told of {link} before.\n{{% endfor %}}"
    computed = "{% set number = 2 %}{{ posthorn_link(number + 1) }} {{ posthorn_link(3)|length }} {{ unsubscribe_url }}"
    source = content(subject="{{ contact.first_name }} {{ unsubscribe_url }}", text=loop + computed, html=f"{link}\r\n")
    token = RecipientToken(source.campaign_id, reader.contact_id).sign(SECRET)
    click = f"https://x.test/t/c/{token}/3"
    message = parsed(letter(source).compose(reader, DATED).content)
    assert body(message, "plain") == (
        f"Ada has been told of {click} before.\nAlan has been told of {click} before.\n"
        f"{click} {len(click)} https://x.test/u/{token}"
    )
    assert body(message, "html") == f"{click}\n"
    assert message["Subject"] == f"Grace https://x.test/u/{token}"


def test_a_source_near_its_largest_size_keeps_its_links() -> None:
    source, reader = content(text=" " * (MAX_SOURCE_BYTES - 300) + "{{ posthorn_link(3)|safe }}\n" * 10), recipient()
    token = RecipientToken(source.campaign_id, reader.contact_id).sign(SECRET)
    message = parsed(letter(source).compose(reader, DATED).content)
    assert body(message, "plain").count(f"https://x.test/t/c/{token}/3\n") == 10


def test_a_link_in_raw_text_is_not_made() -> None:
    raw = "{% raw %}{{ posthorn_link(3) }}{% endraw %}"
    message = parsed(letter(content(text=raw)).compose(recipient(), DATED).content)
    assert body(message, "plain") == "{{ posthorn_link(3) }}"


@given(
    values=st.lists(text, max_size=5),
    literals=st.lists(
        st.sampled_from(["<p>A paragraph of some length.</p>\n", " short ", "ünd so weiter und so fort, "])
    ),
)
def test_what_is_sent_is_what_the_template_says(values: list[str], literals: list[str]) -> None:
    source = "".join(
        f"{literal}{{% if contact.values[{number}] %}}{{{{ contact.values[{number}] }}}}{{% endif %}}"
        for number, literal in enumerate(literals)
    )
    shown = [value.encode("utf-8", "replace").decode() for value in values]
    made = letter(content(text=source)).compose(recipient(values=shown), DATED)
    padded = [*shown, *[""] * len(literals)]
    assert body(parsed(made.content), "plain") == normalised(
        "".join(literal + value for literal, value in zip(literals, padded, strict=False))
    )


@given(first_name=text)
def test_no_field_of_a_contact_can_add_a_header_or_a_recipient(first_name: str) -> None:
    fields = first_name.encode("utf-8", "replace").decode()
    outgoing = letter(content()).compose(recipient(first_name=fields), DATED)
    message = parsed(outgoing.content)
    assert message.keys() == [name for name in HEADERS if name != "Reply-To"]
    assert outgoing.envelope_to == "grace@example.org"
    assert outgoing.envelope_from == "post@example.com"


def test_the_same_delivery_gives_the_same_bytes_again() -> None:
    source, reader = content(), recipient(first_name="Grace")
    assert letter(source).compose(reader, DATED) == letter(source).compose(reader, DATED)


def test_contact_fields_are_never_taken_for_template_code() -> None:
    message = parsed(letter(content()).compose(recipient(first_name="{{ 7 * 7 }}{% for %}"), DATED).content)
    assert message["Subject"] == "Hello {{ 7 * 7 }}{% for %}"


def test_a_template_that_runs_out_of_fuel_for_one_contact_fails_for_that_contact_only() -> None:
    source = content(text="{% for i in range(contact.n) %}{% for j in range(contact.n) %}.{% endfor %}{% endfor %}")
    made = letter(source)
    with pytest.raises(Unprintable, match="too many steps"):
        made.compose(recipient(n=10_000), DATED)
    assert body(parsed(made.compose(recipient(n=2), DATED).content), "plain") == "...."


def test_an_address_with_an_international_domain_is_mailed_in_its_ascii_form() -> None:
    made = letter(content())
    reader = Recipient(1, new_id(), "grace@bücher.example", "{}")
    assert made.compose(reader, DATED).envelope_to == "grace@xn--bcher-kva.example"


def test_an_address_that_has_no_ascii_form_stays_as_it_is_for_relays_that_take_it() -> None:
    message = letter(content()).compose(Recipient(1, new_id(), "grâce@bücher.example", "{}"), DATED)
    assert message.envelope_to == "grâce@bücher.example"
    assert "\r\nTo: grâce@bücher.example\r\n".encode() in message.content


def test_content_that_cannot_be_parsed_is_refused_with_its_line() -> None:
    with pytest.raises(Unprintable, match="line 2"):
        letter(content(html="fine\n{% if %}"))
