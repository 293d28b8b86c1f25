"""
What the world reaches through gateways: who is offered to it, by which certificates, and the way there.

`offering.py` works out each deployment's part, `part.py` is its text and `draining.py` decides when an instance may
go; `sessions.py` hears what gateways tell, `backends.py` carries their connections to other nodes, `serving.py` says
what operators see. Stands beside the use cases and may import what they may. What gateways tell is in memory
(`gateways.py`), all else in the store. Read `offering.py` first.
"""
