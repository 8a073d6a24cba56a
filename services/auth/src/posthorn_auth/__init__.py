"""Organisations, users, sessions, API keys and signing keys."""
