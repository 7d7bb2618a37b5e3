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

#: The corresponding predictions of the run in config.yaml.
OF_TABLE1 = {
    "synthetic only": "pretrain--first_half",
    "fine-tuned": "finetune_observed--first_half",
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

#: Edges of [Fe/H] between which the RMSE of Figure 4's predictions was computed, dex.
IRON_EDGES = (-2.0, -1.5, -1.0, -0.5, 0.0)

#: RMSE of [Fe/H] below, between and above `IRON_EDGES`, dex, from the authors' files of Figure 4:
#: of 35, 181, 378, 3116, 14755 and 7051 test stars.
FIGURE4_BY_IRON = {
    "fcnn--iron_window": (1.415, 0.991, 0.509, 0.135, 0.091, 0.124),
    "pretrain--iron_window": (1.684, 1.103, 0.658, 0.379, 0.189, 0.163),
    "finetune_observed--iron_window": (0.795, 0.510, 0.475, 0.235, 0.177, 0.218),
    "finetune_iron--iron_window": (0.465, 0.209, 0.209, 0.124, 0.088, 0.066),
    "finetune_iron_direct--iron_window": (0.492, 0.225, 0.237, 0.125, 0.092, 0.077),
}
