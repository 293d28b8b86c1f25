"""`python -m fledx`; the archive has an entry of its own, which build.py writes."""

from __future__ import annotations

import sys

from fledx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
