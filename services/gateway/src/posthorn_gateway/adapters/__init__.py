"""The outside: services over HTTP, Redis."""
