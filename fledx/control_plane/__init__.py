"""
The role `fledx cp`: takes what operators want, decides who runs it, tells the agents, and stores what became of it.

May import tunnel, sealing, models, settings, errors and what every role needs (`tracing`, `stopping`,
`systemd_notify`); never agent, bootstrap or cli. Inside, `api` and `loops` look down on the use cases
(`deployments.py`, `nodes.py` and their like, each one transaction by way of `changes.py`; those of `ingress` and
`trust` in rooms of their own), these on `replicas`, `rollout`, `scheduler`, `store` and `dispatch`. All that must
outlive the process is in the store, one SQLite file with one writer; live sessions and recent samples are in memory
and may be lost.

Read `run.py` first: it builds every object once. Then `deployments.py`: the way of a spec through this room. Who dials
the tunnel port meets `entrance.py`, and behind it `agents.py` or `operators.py`.
"""
