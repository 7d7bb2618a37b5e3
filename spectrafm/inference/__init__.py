"""From a trained model and spectra to labels and attention maps."""
