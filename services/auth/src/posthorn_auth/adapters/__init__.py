"""What the ports are made of: PostgreSQL, Redis, Argon2."""
