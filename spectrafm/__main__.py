"""``python -m spectrafm``: the same as the ``spectrafm`` command."""

import sys

from spectrafm.cli import main

sys.exit(main())
