"""
Real machines to test on, made on this one: what stands behind the markers `docker` and `bed`.

- `engines.py`: several Docker engines, each in a network namespace with an address of its own. Ready in a second.
- `hosts.py`: whole hosts (systemd, sshd, sudo, their own engine), each a container. Ready in ten seconds, after their
  images have been built once. `python -m tests.bed --help` does the same by hand.
- `faults.py`: what can go wrong with the network of either.
- `fixtures.py`: what tests ask for. Read it first.

Needs root, Docker, iproute2 and iptables. State: containers labelled `fledx-bed`, namespaces and links whose names
begin with `fx`, folders `fledx-*` in the temporary directory. Whatever a run leaves behind is removed by its keeper
(`slots.py`), else by the next run.
"""
