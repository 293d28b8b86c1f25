"""
Look, decide, act: brings the containers of this node to what is desired and says why each time.

`plan.py`, `history.py` and for jobs `jobs.py` and `firing.py` decide and are pure, `execute.py` acts through the
runtime, `lanes.py` lets each replica's actions run one by one, `loop.py` joins them. Imports the agent's `runtime`,
`images`, `secrets`, `volumes` and `jobs`, what is pure, and `models`. Read `plan.py` first.
"""
