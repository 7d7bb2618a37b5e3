"""Registry of surveys: sources of training spectra, each a folder here and an entry below."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """Where the options, rules and commands of a survey are defined."""

    title: str  # as tables and figures name it
    options: str  # module:Section with the keys of ``survey`` in the configuration
    rules: str  # path of the Snakemake file, relative to spectrafm/surveys/
    commands: dict[str, str]  # command -> module:function
    wavelength_range: str  # module:name of (first, last) wavelength of the spectra, Angstrom


_APOGEE = "spectrafm.surveys.apogee"
_XP = "spectrafm.surveys.gaia_xp"
_OWN = "spectrafm.surveys.own"

SURVEYS = {
    "apogee": Source(
        "APOGEE",
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
    "gaia_xp": Source(
        "Gaia XP",
        f"{_XP}.options:Survey",
        "gaia_xp/survey.smk",
        {
            "fetch-xp": f"{_XP}.fetch_xp:fetch_xp",
            "select-xp": f"{_XP}.select_xp:select_xp",
        },
        f"{_XP}.table:RANGE",
    ),
    "own": Source(
        "Own survey",
        f"{_OWN}.options:Survey",
        "own/survey.smk",
        {"import-spectra": f"{_OWN}.import_spectra:import_spectra"},
        f"{_OWN}.options:RANGE",
    ),
}
