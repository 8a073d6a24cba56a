"""Use cases of the campaigns service, and the ports they need."""
