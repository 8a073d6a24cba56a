"""A real SMTP server that delivers to nobody: it keeps every message and shows it to whoever looks."""
