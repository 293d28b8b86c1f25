"""
Liveness and readiness of instances.

`schedule.py` decides when to probe and what the results mean and is pure; `probes.py` asks over HTTP, TCP or inside the
container. State is in memory only: after a start everything is asked again.
"""
