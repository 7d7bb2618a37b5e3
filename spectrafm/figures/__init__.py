"""The paper's figures: each a function of data that returns a Figure."""
