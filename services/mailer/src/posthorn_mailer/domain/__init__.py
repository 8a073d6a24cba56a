"""Rules of sending: relays, replies, deliveries, suppressions, messages. Standard library only."""
