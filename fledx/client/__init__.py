"""
Talking to a control plane over HTTP, for the command line, for bootstrap and for registration.

May import `tunnel`, `models` and `errors`; the only state is an open connection. Nothing here needs http.client, urllib
or asyncio, as each costs more to import than a whole command takes; but for `operator_session.py`, by which the command
line dials the tunnel port for what goes into a replica. Read `api.py` first, then `asking.py` and `transport.py`.
"""
