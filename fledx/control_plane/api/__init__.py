"""
The control plane over HTTP: operators' requests in, use cases called, answers out.

`app.py` is the route table; a request passes `edge.py` (its id, its count, what escaped), `endpoint.py` (access,
parameters, body) and one resource's file (`deployments.py`, `nodes.py`, ...), which calls a use case. May import the
use cases, metrics, models, settings and errors; the only room that knows starlette. Nothing is kept here between two
requests but counters of what is in progress and of refused sources. Read `app.py` first.
"""
