"""Campaigns' messages, made by users' templates in processes that can do no harm."""
