"""
The container engine behind one protocol.

`base.py` says what the rest of the agent may ask for, in the words of `containers.py`; `docker.py` answers with Docker,
by way of `engine.py`, the only file that imports its library. Imports `models` and `errors`. Keeps no truth: the engine
has it.
"""
