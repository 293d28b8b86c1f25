"""
One file a noun: its verbs in a table, and what each does with its flags.

Imports nothing heavy at module level; `main.py` loads the one file whose noun was named.
"""
