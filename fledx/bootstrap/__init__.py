"""
From a bare host to a running role: ship this file to a machine over SSH, install it as a service, and see it work.

Every run is look (`look.py`, `facts.py`), plan (`preflight.py` and `plan.py`, pure), print, act (`act.py` carries out
the typed steps of `steps.py`, `accounts.py` and `services.py`, and undoes them when one fails), verify (`verify.py`).
The seam is `Host` (`host.py`): scripts in, what they said out; `local.py` and `ssh.py` are the two real ones. All state
is on the host itself, looked at anew each time. May import `client`, `models`, `settings` and `errors`. Read `run.py`
first, then `visit.py` and `plan.py`.
"""
