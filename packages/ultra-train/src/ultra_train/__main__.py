"""``python -m ultra_train`` is ``ultra-train``."""

import sys

from ultra_train.cli import main

sys.exit(main())
