"""`python -m gems_actors.cli`, which is `gems` where the console script is not on the path."""

import sys

from gems_actors.cli import main

sys.exit(main())
