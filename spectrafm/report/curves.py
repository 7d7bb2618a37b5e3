"""Loss curves of a training as small SVG images."""

from __future__ import annotations

import numpy as np
import pandas as pd

WIDTH, HEIGHT = 260, 110

#: Colour of each column of ``metrics.csv`` that is drawn.
LINES = {"training_loss": "#4B7BE5", "validation_loss": "#FF8C38"}


def loss_curve(metrics: pd.DataFrame) -> str:
    """Draw training and validation loss against the epoch, as the text of an SVG image.

    The axis ends at the 95th percentile, since the losses of the first epochs may be far above the
    others.

    Parameters
    ----------
    metrics : pandas.DataFrame
        Columns ``epoch``, ``training_loss``, ``validation_loss`` (NaN where not validated).

    Returns
    -------
    str
        Empty where no loss is finite.
    """
    drawn = {name: colour for name, colour in LINES.items() if name in metrics}
    values = metrics[list(drawn)].to_numpy(float) if drawn else np.array([])
    values = values[np.isfinite(values)]
    if not values.size:
        return ""
    low, high = values.min(), np.percentile(values, 95)
    epochs = metrics["epoch"].to_numpy(float)
    first, last = epochs[0], epochs[-1]
    x = 4 + (WIDTH - 8) * (epochs - first) / max(last - first, 1)
    parts = [
        f'<svg role="img" aria-label="loss by epoch" width="{WIDTH}" height="{HEIGHT + 16}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT + 16}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
    ]
    for name, colour in drawn.items():
        loss = metrics[name].to_numpy(float)
        y = 4 + (HEIGHT - 8) * (1 - (loss.clip(low, high) - low) / max(high - low, 1e-12))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    text = f"epoch {first:g}–{last:g}, loss {low:.2f} to {high:.2f}"
    parts.append(f'<text x="0" y="{HEIGHT + 13}" font-size="11">{text}</text></svg>')
    return "".join(parts)
