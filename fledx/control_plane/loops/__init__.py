"""
What goes on without being asked: each loop looks, decides by a pure function, and acts through `changes`.

May import the use cases' modules; a loop holds no state that a restart may not lose. Read `reachability.py` first.
"""
