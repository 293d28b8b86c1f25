"""
Finds what usually goes wrong on this machine, as a control plane, a node or an operator's, and says how it is mended.

`look.py` and `network.py` look and change nothing, `judge.py` is pure: facts in, findings out. `bundle.py` packs what a
bug report needs, without a secret. No state. May import the doors of roles, `models`, `settings` and `errors`. Read
`facts.py` first; `run.py` is the door.
"""
