"""What a run made, on one page; and whether every file of it is still as it was written."""
