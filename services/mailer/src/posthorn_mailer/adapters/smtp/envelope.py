"""The commands that begin a message, as one relay understands them."""

from __future__ import annotations

import re

from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.adapters.smtp.capabilities import Capabilities
from posthorn_mailer.adapters.smtp.failures import Ended
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.replies import Stage, replied

# What must never get into a command, whatever let it through before.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f<>,;\u2028\u2029\ud800-\udfff]")


def envelope(message: OutgoingMessage, capabilities: Capabilities) -> tuple[bytes, bytes]:
    """Return the MAIL and RCPT commands. Raises Ended where the relay cannot be given this message."""
    sender, recipient = message.envelope_from, message.envelope_to
    if _UNSAFE.search(sender):
        raise Ended(replied(Stage.MAIL, 553, "5.1.7 Not sent: the sender address is not valid"))
    if _UNSAFE.search(recipient):
        raise Ended(replied(Stage.RCPT, 553, "5.1.3 Not sent: the recipient address is not valid"))
    options = b""
    if not (sender.isascii() and recipient.isascii()):
        sender, recipient = ascii_form(sender), ascii_form(recipient)
        if not (sender.isascii() and recipient.isascii()):
            if not capabilities.smtp_utf8:
                raise Ended(replied(Stage.RCPT, 553, "5.6.7 Not sent: the relay does not take such addresses"))
            options = b" SMTPUTF8 BODY=8BITMIME"
    if not options and not message.content.isascii():
        if not capabilities.eight_bit_mime:
            raise Ended(replied(Stage.MAIL, 554, "5.6.3 Not sent: the relay takes 7-bit messages only"))
        options = b" BODY=8BITMIME"
    if capabilities.size:
        size = len(message.content)
        if capabilities.max_size is not None and size > capabilities.max_size:
            text = f"5.3.4 Not sent: {size} bytes are more than the relay's maximum of {capabilities.max_size}"
            raise Ended(replied(Stage.MAIL, 552, text))
        options += b" SIZE=%d" % size
    return b"MAIL FROM:<%s>%s\r\n" % (sender.encode(), options), b"RCPT TO:<%s>\r\n" % recipient.encode()
