"""
Who may come in, and how they know that it is us: tokens, what refused ones cost, and our own certificate authority.

Stands beside the use cases and may import what they may. Hashes of tokens are in the store, the authority's keys in
files beside it. Read `tokens.py` first.
"""
