"""
The nouns: frozen, keyword-only dataclasses for what crosses HTTP, the tunnel or a disk.

A model refuses nonsense when it is made, with every fault it finds; `codec.py` turns JSON-like data into models and
back and gathers the faults of a whole document by path. Imports `errors` only; holds no state. Read `deployment.py`
first.
"""
