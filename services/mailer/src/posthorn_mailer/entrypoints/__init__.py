"""Ways into the service: HTTP, events, jobs and command line."""
