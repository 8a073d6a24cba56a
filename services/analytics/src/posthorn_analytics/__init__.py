"""Engagements, rollups, link tables and exports."""
