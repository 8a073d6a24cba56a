"""The public door: verifies tokens, routes, documents."""
