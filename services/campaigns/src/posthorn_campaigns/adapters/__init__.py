"""What the ports are made of: PostgreSQL, templates, the mailer's client."""
