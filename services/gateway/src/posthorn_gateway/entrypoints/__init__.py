"""Ways into the service: HTTP, events, command line."""
