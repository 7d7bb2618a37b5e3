"""Your own survey: a table of your spectra and labels, of any instrument."""
