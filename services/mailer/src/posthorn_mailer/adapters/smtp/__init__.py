"""SMTP."""

from posthorn_mailer.adapters.smtp.connecting import TlsContexts
from posthorn_mailer.adapters.smtp.dialling import Dialling
from posthorn_mailer.adapters.smtp.settings import ReuseLimits, SmtpTimeouts
from posthorn_mailer.adapters.smtp.transport import SmtpMailTransport

__all__ = ["Dialling", "ReuseLimits", "SmtpMailTransport", "SmtpTimeouts", "TlsContexts"]
