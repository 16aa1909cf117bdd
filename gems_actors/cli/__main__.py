"""`python -m gems_actors.cli`: the same as `gems`, where the console script is not on the PATH."""

import sys

from gems_actors.cli import main

sys.exit(main())
