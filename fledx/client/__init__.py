"""
Talking to a control plane over HTTP, for the command line, for bootstrap and for registration.

Imports `tunnel`, `models` and `errors`; the only state is an open connection. Nothing here needs http.client, urllib or
asyncio, as each costs more to import than a whole command takes. Read `api.py` first, then `transport.py`.
"""
