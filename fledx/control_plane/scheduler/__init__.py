"""
Which node runs which replica, decided without looking at the world: a board and a spec go in, a plan comes out.

May import models and errors. The one state is the `Board`, owned by the one writer of the store: it can be thrown away
and built again from rows at any time, and then decides the same. `schedule` and the other questions only read it;
`apply`, `remove`, `update` change it, after the transaction they belong to is committed.

The trick that makes a placement cheaper than a scan: for each *shape* of spec (what it demands of a node that does not
change from replica to replica) the board keeps the suitable nodes sorted by load, an `Order`, and moves only those
that have changed since it was last asked.

Read `schedule.py` first, then `draft.py` (what can refuse a replica) and `board.py`. `explain.py` turns refusals into
the sentence that an operator reads; `fits.py` says whether a replica may stay where it is.
"""
