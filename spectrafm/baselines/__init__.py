"""What the foundation model is measured against."""
