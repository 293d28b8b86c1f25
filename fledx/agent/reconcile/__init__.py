"""
Look, decide, act: brings the containers of this node to what is desired and says why each time.

`plan.py` and `history.py` decide and are pure, `execute.py` acts through the runtime, `loop.py` joins them and gives
each replica a lane of its own. Imports the agent's `spec`, `backoff` and `runtime`, and `models`. Read `plan.py` first.
"""
