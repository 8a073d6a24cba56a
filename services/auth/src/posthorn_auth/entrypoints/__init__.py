"""Ways into the service: HTTP and command line."""
