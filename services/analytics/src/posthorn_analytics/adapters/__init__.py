"""What the ports are made of: PostgreSQL, Redis, the campaigns service."""
