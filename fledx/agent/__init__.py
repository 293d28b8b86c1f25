"""
Role `fledx agent`: runs one node's share of the deployments, with the control plane or without it.

Imports `tunnel`, `client`, `sealing`, `models`, `settings`, `errors`; nobody but `cli` and `demo` imports it. What is
desired lies in `desired.json`, who we are in `identity.json`, both 0600 in the data directory; what is observed is
Docker's and read anew at each look, by the labels `fledx.*`. Read `reconcile/plan.py` first, then `reconcile/loop.py`;
`run.py` wires it all. A node that serves public ingress has an Envoy of its own: `ingress/`.
"""
