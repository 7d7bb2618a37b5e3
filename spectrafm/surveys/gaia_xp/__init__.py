"""The Gaia XP survey: real BP/RP spectra of APOGEE stars, with the labels of APOGEE DR17."""
