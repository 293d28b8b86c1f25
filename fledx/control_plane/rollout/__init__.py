"""
How a deployment gets from one revision to the next: look at its replicas, decide what happens now.

The caller keeps a `RolloutState` for each deployment, asks `next_step` whenever something has changed and once a second
while it is progressing, carries out the decisions and stores the new state, both in one transaction. All times are Unix
seconds. Everything here is pure and imports `models` alone; `control_plane/rollout_state.py` stores the state,
`control_plane/loops/rollouts.py` asks and acts. Read `step.py` first, then `look.py`; `surge.py` starts the new before
it stops the old.
"""
