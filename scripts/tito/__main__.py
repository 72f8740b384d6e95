"""`python -m tito` is the same as `tito`."""

import sys

from tito.cli import main

sys.exit(main())
