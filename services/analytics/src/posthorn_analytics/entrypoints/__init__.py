"""Ways into the service: HTTP, events and command line."""
