"""What holds for all tests: a time limit, and one thread: networks this small are fastest on it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["making.time_limit"]
