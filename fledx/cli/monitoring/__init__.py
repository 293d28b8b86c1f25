"""
What Prometheus and Grafana need to watch fledx: printed by `fledx metrics alerts` and `fledx metrics dashboard`.

Pure text from facts; imports nothing. A test runs every expression against the series that a running system shows, so a
series that is renamed is found here. Read `alerts.py` first.
"""
