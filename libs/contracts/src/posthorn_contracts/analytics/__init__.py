"""Contracts owned by the analytics service."""
