"""Work on what users wrote, in child processes that can neither take the service's memory and time nor its secrets."""
