"""Posthorn's plumbing without business nouns."""
