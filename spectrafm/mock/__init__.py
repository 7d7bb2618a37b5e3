"""A survey with no network: physics-based stars written as a SAS tree."""
