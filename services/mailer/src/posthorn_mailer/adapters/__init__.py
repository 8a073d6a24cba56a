"""What the ports are made of: PostgreSQL, Redis, SMTP, other services."""
