"""Contracts owned by the auth service."""
