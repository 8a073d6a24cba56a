"""What the gateway does: identify callers, remember revocations, limit requests, describe the API."""
