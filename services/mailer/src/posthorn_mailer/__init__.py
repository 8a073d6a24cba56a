"""Relays, deliveries, batches, suppressions and transactional messages."""
