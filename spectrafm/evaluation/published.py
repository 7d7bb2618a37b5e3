"""Results published by Koblischke & Bovy (2024), for comparison with the results of a run."""

from __future__ import annotations

#: Scatter of Table 1: APOGEE DR17, 16,489 test stars with 1 < log g < 3.5, 1.515-1.603 micron.
#: The numbers are mad_std (recomputed by the authors' notebook), not the median abs(r) of the
#: caption. Label -> K or dex.
TABLE1 = {
    "AstroNN": {"TEFF": 10, "LOGG": 0.037, "O_FE": 0.020, "MG_FE": 0.015, "FE_H": 0.011},
    "synthetic only": {"TEFF": 183, "LOGG": 0.326, "O_FE": 0.038, "MG_FE": 0.034, "FE_H": 0.048},
    "fine-tuned": {"TEFF": 19, "LOGG": 0.056, "O_FE": 0.021, "MG_FE": 0.019, "FE_H": 0.019},
}

#: RMSE of [Fe/H] in Figure 4, dex: of 25,516 test stars of APOGEE DR17 and of the 594 iron-poor
#: ones among them. The keys are the corresponding predictions of the run in config.yaml.
FIGURE4 = {
    "fcnn--iron_window": (0.158, 0.763),
    "pretrain--iron_window": (0.254, 0.902),
    "finetune_observed--iron_window": (0.210, 0.510),
    "finetune_iron--iron_window": (0.094, 0.232),
    "finetune_iron_direct--iron_window": (0.100, 0.256),
}
