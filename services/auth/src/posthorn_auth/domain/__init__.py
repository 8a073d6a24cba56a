"""Rules of signing in: users, roles, passwords, sessions, API keys. Standard library only."""
