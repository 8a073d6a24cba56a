"""Contracts owned by the campaigns service."""
