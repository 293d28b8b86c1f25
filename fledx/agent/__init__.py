"""
Role `fledx agent`: runs one node's share of the deployments, with the control plane or without it.

May import `tunnel`, `client`, `sealing`, `models`, `settings`, `errors` and what every role needs (`tracing`,
`stopping`, `systemd_notify`); nobody but `cli` imports it. What is desired lies in `desired.json`, who we are in
`identity.json`, both 0600 in the data directory; what is observed is Docker's and read anew at each look, by the labels
`fledx.*`.

`tunnel_client.py` keeps the link; what comes over it goes by `serving.py` to `desired.py` and `streams/`. `reconcile/`
brings the containers to what is desired, by way of `images/` and `runtime/`; `health/` probes them, `observed.py` shows
what there is, `report.py` tells it. A node that serves public ingress has an Envoy of its own: `ingress/`. `run.py`
wires it all. Read `reconcile/plan.py` first, then `reconcile/loop.py`.
"""
