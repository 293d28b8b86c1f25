"""
How a process is tuned.

A setting is declared once, in the dataclass of its role; the flags, `--help`, the environment names, the env file
that bootstrap writes and the README's table all derive from that. Imports `errors` only; holds no state. Read
`declare.py` first.
"""
