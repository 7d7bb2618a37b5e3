"""How good predictions are: scores and tables."""
