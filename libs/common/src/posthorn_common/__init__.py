"""Plumbing shared by Posthorn's services: no business nouns, no tables or settings of one service."""
