"""Contacts, lists, imports, templates, campaigns, schedules and subscriptions."""
