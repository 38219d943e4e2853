"""The demo conversation that ships with the package, and questions about it."""
