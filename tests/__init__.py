"""Everything a change must pass; `python3 build.py test` runs it."""
