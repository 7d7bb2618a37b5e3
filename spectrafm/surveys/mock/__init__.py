"""A survey with no network: physics-based stars written as a SAS tree.

A little APOGEE: stars drawn from DR17's distribution of labels (`population`), observed with every
reason to be dropped that the real survey has (`observing`), their spectra computed from gray
atmospheres and 1,500 real lines (`chemistry`, `opacity`, `atmosphere`, `lines`, `synthesis`), taken
through an instrument (`instrument`), fitted by a stand-in for ASPCAP (`aspcap`) and written in
DR17's layout (`allstar`, `mock_survey`).

Its purpose is to run the whole workflow in minutes on any machine. It was compared with real
spectra only: nothing in it was adjusted to how well any network does.
"""
