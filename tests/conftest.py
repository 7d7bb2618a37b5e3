"""What holds for all tests: a time limit, a working Ctrl-C, and one thread.

Networks as small as these are fastest on one thread.
"""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has its background jobs ignore Ctrl-C, which the tests of it would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["making.time_limit"]
