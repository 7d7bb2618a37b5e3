"""What holds for all tests: networks this small are fastest on one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
