"""Use cases of the analytics service, and the ports they need."""
