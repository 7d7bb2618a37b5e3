"""Figure 6: how many stars have which signal-to-noise ratio."""

from pathlib import Path

from matplotlib.figure import Figure

from spectrafm.figures.style import save
from spectrafm.store.read import read_store


def figure6(store: Path, *, star: str | None = None, output: Path) -> None:
    """Signal-to-noise ratios of the stars.

    Parameters
    ----------
    store : pathlib.Path
        Zarr store of the stars.
    star : str, optional
        Not used.
    output : pathlib.Path
        PNG file to write; the PDF file is written beside it.

    Examples
    --------
    $ spectrafm figure6 results/demo/store.zarr --output=figure6.png
    """
    figure = Figure()
    figure.subplots().hist(read_store(store).snr.values)
    save(figure, output, "signal-to-noise ratios", [store])
