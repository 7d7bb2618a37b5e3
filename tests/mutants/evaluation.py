"""Scores, groups and tables: what is said of a model."""

from mutants import Mutant

SCORES = "spectrafm/evaluation/scores.py"
TABLE = "spectrafm/evaluation/table1.py"
METRICS = "tests/test_metrics.py"

MUTANTS = [
    Mutant(
        SCORES,
        "np.array([[1.0], [2.0]])",
        "np.array([[1.0], [3.0]])",
        METRICS,
        "the share within two sigma is that within three",
    ),
    Mutant(
        SCORES,
        "residual = (predicted - actual)[paired]",
        "residual = (actual - predicted)[paired]",
        METRICS,
        "biases have the wrong sign",
    ),
    Mutant(
        SCORES,
        'found["mad_std"] = float(mad_std(residual))',
        'found["mad_std"] = float(np.median(np.abs(residual - median)))',
        METRICS,
        "the scatter is too small by a third",
    ),
    Mutant(
        SCORES,
        '"rich": iron >= IRON_POOR',
        '"rich": iron > IRON_POOR',
        METRICS,
        "a star at the limit is in no group",
    ),
    Mutant(
        SCORES,
        "paired = np.isfinite(actual) & np.isfinite(predicted)",
        "paired = np.isfinite(actual)",
        METRICS,
        "a star without an answer makes every score NaN",
    ),
    Mutant(
        SCORES,
        "known = np.isfinite(sigma)",
        "known = np.ones(len(sigma), bool)",
        METRICS,
        "a star without an uncertainty counts as outside of it",
    ),
    Mutant(
        TABLE,
        'reindex(table["apogee_id"])',
        "iloc[: len(table)]",
        "tests/test_tables.py",
        "AstroNN's labels are scored against other stars",
    ),
    Mutant(
        TABLE,
        "(table[name] > logg[0]) & (table[name] < logg[1])",
        "(table[name] >= logg[0]) & (table[name] <= logg[1])",
        "tests/test_tables.py",
        "the table's stars are not the paper's",
    ),
    Mutant(
        "spectrafm/evaluation/collect_metrics.py",
        'any(table.attrs["mock"] for table in tables)',
        'all(table.attrs["mock"] for table in tables)',
        METRICS,
        "a run with a prediction of simulated stars counts as real",
    ),
    Mutant(
        "spectrafm/labels.py",
        "IRON_POOR = -1.0",
        "IRON_POOR = -1.5",
        "tests/test_metrics.py tests/test_tables.py",
        "iron-poor is not what the paper means",
    ),
    Mutant(
        "spectrafm/networks/__init__.py",
        "(labels + 1) * (labels + 2) // 2 + 1",
        "(labels + 1) * (labels + 2) // 2",
        "tests/test_repeats.py",
        "the learning curve asks the Cannon for a fit to too few stars, and never ends",
    ),
    Mutant(
        "spectrafm/config.py",
        "if 0 < count < fewest:",
        "if False:",
        "tests/test_repeats.py",
        "the same",
    ),
]
