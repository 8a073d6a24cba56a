"""Real servers for tests, as pytest fixtures (`plugin`), shared by all test processes of a checkout."""
