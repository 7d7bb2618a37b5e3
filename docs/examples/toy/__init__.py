"""A survey of invented stars."""
