"""Inference: labels and attention maps from a trained model and spectra."""
