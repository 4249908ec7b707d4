"""`python -m glic_deploy` is the `glic` command."""

import sys

from .cli import main

sys.exit(main())
