"""
Public ingress on a node that is a gateway: an Envoy of our own, fed by files it watches.

`envoy_config` decides what is in the files; nothing here knows how the control plane chose it. All state is in the
desired state, in Envoy itself, and in a directory in memory that both share. Read `gateway.py` first.
"""
