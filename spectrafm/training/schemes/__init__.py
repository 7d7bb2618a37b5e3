"""Registry of the sampling schemes, which choose the pixels that a star shows.

Each scheme is one file of this package and a line here.
"""

from __future__ import annotations

_HERE = "spectrafm.training.schemes"

#: Name of each scheme in the configuration, and its class.
SCHEMES = {
    "scattered": f"{_HERE}.scattered:Scattered",
    "contiguous": f"{_HERE}.contiguous:Contiguous",
    "mixed": f"{_HERE}.mixed:Mixed",
    "paper": f"{_HERE}.paper:Paper",
    "window": f"{_HERE}.window:Window",
    "all": f"{_HERE}.whole:Whole",
}
