"""Training: which pixels a star shows, the loss, the schedule, the loop."""
