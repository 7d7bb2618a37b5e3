"""Sources of training spectra, one folder each: whatever a survey is, it ends in the store."""
