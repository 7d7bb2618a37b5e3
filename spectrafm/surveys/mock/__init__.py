"""A survey with no network: physics-based stars written as a SAS tree.

The mock survey imitates APOGEE on a small scale. Stars are drawn from DR17's distribution of labels
(`population`) and observed with the same flags, repeats and lost files as in the real survey
(`observing`). Their spectra are computed from gray atmospheres and 1,500 real lines (`chemistry`,
`opacity`, `atmosphere`, `lines`, `synthesis`), degraded by an instrument (`instrument`), fitted by
a stand-in for ASPCAP (`aspcap`) and written in DR17's layout (`allstar`, `mock_survey`).

The purpose of the mock survey is to run the whole workflow in minutes on any machine. It was tuned
by comparison with real spectra only, never by the performance of a network.
"""
