"""Sources of training spectra, one folder each, and a line here; each ends in the store."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """A survey: its options, its rules, its commands."""

    options: str  # module:Section, the keys of ``survey`` in the configuration
    rules: str  # Snakemake file beside the survey's code, below spectrafm/surveys/
    commands: dict[str, str]  # command -> module:function
    wavelength_range: str  # module:name of (first, last) wavelength of its spectra, Angstrom


_APOGEE = "spectrafm.surveys.apogee"

SURVEYS = {
    "apogee": Source(
        f"{_APOGEE}.options:Survey",
        "apogee/survey.smk",
        {
            "mock-survey": "spectrafm.surveys.mock.mock_survey:mock_survey",
            "fetch-allstar": f"{_APOGEE}.fetch_allstar:fetch_allstar",
            "select-stars": f"{_APOGEE}.select_stars:select_stars",
            "fetch-spectra": f"{_APOGEE}.fetch_spectra:fetch_spectra",
            "list-files": f"{_APOGEE}.list_files:list_files",
            "fetch-astronn": f"{_APOGEE}.fetch_astronn:fetch_astronn",
            "check-selection": f"{_APOGEE}.check_selection:check_selection",
        },
        f"{_APOGEE}.grid:RANGE",
    ),
}
