"""Ways into the service: HTTP, events, jobs, loops and command line."""
