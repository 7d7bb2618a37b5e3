"""Report of a run on one HTML page, and verification of every file of a run."""
