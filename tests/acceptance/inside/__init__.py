"""Short programs that use one library as fledx does; `test_zipapp.py` runs each from the archive alone."""
