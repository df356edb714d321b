"""`python -m spineseg` is the command `spineseg`."""

import sys

from spineseg.cli import main

sys.exit(main())
