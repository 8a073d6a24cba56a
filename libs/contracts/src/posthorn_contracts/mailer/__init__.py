"""Contracts owned by the mailer service."""
