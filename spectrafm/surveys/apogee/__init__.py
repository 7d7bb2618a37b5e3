"""The APOGEE survey: where files lie, what they hold, which stars stay."""
