"""What `build.py` has beyond the archive itself: this machine, its Docker engine, the wheels, the checks."""
