"""Posthorn's contracts: events, permissions and link tokens."""
