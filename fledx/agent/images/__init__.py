"""
The images of this node: what a tag stands for, what fledx has pulled, and room on the disk.

`choosing.py` says from which image a container is made and gets it, `pins.py` settles with the control plane which
bytes a revision runs, `records.py` keeps what was pulled and for whom (in `images.json` in the data directory).
`disk.py` watches the disk and stops pulls before it is full, `cleaning.py` decides what may go and is pure,
`keeping.py` wires them together. Imports the agent's `runtime`, `clock`, `spec` and `files`, `models`, `settings`.
Read `choosing.py` first.
"""
