"""Fetching files of a survey archive, from a server or a disk, for any survey."""
