"""
What a stream that the control plane opens carries: one file a kind, each an `async def` over the stream and its meta.

Imports the agent's `runtime` and `tunnel`. Keeps no state. Read `logs.py` first; which container a stream into a
replica reaches is decided in `replicas.py` alone.
"""
