"""The texts of mail about accounts."""

from __future__ import annotations

from posthorn_auth.domain.mails import MailPurpose

_SUBJECTS = {
    MailPurpose.VERIFY_EMAIL: "Confirm your e-mail address",
    MailPurpose.CHANGE_EMAIL: "Confirm your new e-mail address",
    MailPurpose.RESET_PASSWORD: "Choose a new password",
    MailPurpose.INVITATION: "You are invited to {organisation}",
    MailPurpose.EMAIL_CHANGE_REQUESTED: "Your e-mail address is to be changed",
    MailPurpose.EMAIL_CHANGED: "Your e-mail address was changed",
    MailPurpose.PASSWORD_CHANGED: "Your password was changed",
    MailPurpose.TWO_FACTOR_CHANGED: "Your second factor was changed",
}

_TEXTS = {
    MailPurpose.VERIFY_EMAIL: """\
Please confirm that this address is yours:

{base}/account/confirm-email#{token}

The link works once, for three days. If you have no account with us, ignore this message.""",
    MailPurpose.CHANGE_EMAIL: """\
Somebody, probably you, wants to use this address to sign in. Please confirm it:

{base}/account/confirm-email#{token}

The link works once, for an hour. If it was not you, ignore this message: nothing changes.""",
    MailPurpose.RESET_PASSWORD: """\
Somebody, probably you, has forgotten the password of your account. Choose a new one here:

{base}/account/reset-password#{token}

The link works once, for 30 minutes. If it was not you, ignore this message: your password stays as it is.""",
    MailPurpose.INVITATION: """\
You are invited to join {organisation}. Accept here, and choose a password:

{base}/account/accept-invitation#{token}

The link works once, for seven days. If you do not know why you get this message, ignore it.""",
    MailPurpose.EMAIL_CHANGE_REQUESTED: """\
Somebody who knows your password wants your account to use another e-mail address. If it was you, there is a message at
the new address. If it was not, change your password at once.""",
    MailPurpose.EMAIL_CHANGED: """\
Your account uses another e-mail address now, and this one no more. If it was not you, tell an owner of {organisation}
at once.""",
    MailPurpose.PASSWORD_CHANGED: """\
The password of your account was changed, and your other sessions have ended. If it was not you, choose a new one at
once: ask for it where you sign in.""",
    MailPurpose.TWO_FACTOR_CHANGED: """\
What your account asks for besides the password was changed: it was set up, removed, or has new recovery codes. If it
was not you, change your password at once, and tell an owner of {organisation}.""",
}
_FOOT = """

--\x20
This message is about your account at {base}.
"""


def letter(purpose: MailPurpose, *, base: str, token: str, organisation: str) -> tuple[str, str]:
    """Return subject and text. The token stands behind a `#`: browsers send it to nobody, and no log has it."""
    # Values that are filled in are not filled in again: an organisation may have any name.
    values = {"base": base, "token": token, "organisation": organisation}
    return _SUBJECTS[purpose].format(**values), (_TEXTS[purpose] + _FOOT).format(**values)
