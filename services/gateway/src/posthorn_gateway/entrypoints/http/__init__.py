"""The HTTP side of the gateway: the door for everybody else's routes, and a few pages of its own."""
