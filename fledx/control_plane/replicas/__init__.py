"""
What becomes of replicas inside a transaction: they get places, change them, keep their data, and have a status.

Carries the scheduler's plans out on the rows, and derives what is shown of a deployment from them. Stands below
`changes.py`, which runs its transactions, and knows nothing of it: a `Placing` is the part of one that is needed here.
May import scheduler, store, models, errors; no state. Read `placing.py` first.
"""
