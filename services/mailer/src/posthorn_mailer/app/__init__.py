"""Use cases of the mailer service, and the ports they need."""
