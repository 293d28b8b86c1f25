"""
A control plane, three agents and a sample web app on this machine, by one command and without a trace afterwards.

Runs the roles as processes of this very file and talks to them as an operator's program would, over the API. May import
client, child, sample, models, settings and errors; all state is in a temporary folder. Read `run.py` first.
"""
