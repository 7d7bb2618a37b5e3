"""SpectraFM: a stellar foundation model from public APOGEE spectra."""

__version__ = "0.1.0"
