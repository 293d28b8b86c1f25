"""
What a stream that the control plane opens carries: one file a kind, each an `async def` over the stream and its meta.

May import the agent's `runtime`, `spec` and what `reconcile` knows of copies, `models`, `tunnel` and `errors`. Keeps no
state. Read `logs.py` first; which container a stream into a replica reaches is decided in `replicas.py` alone.
"""
