"""Evaluation of predictions: scores and tables."""
