"""The APOGEE survey: paths and contents of its files, and the selection of stars."""
