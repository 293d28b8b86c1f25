"""A stand-in for `fledx.pyz`: it starts as a service, says that it is ready, and joins, without being fledx."""

from __future__ import annotations

import hashlib

from fledx.bootstrap.package import Package

# The agent's identity is what `look.py` reads of it; a version of "broken" does not start.
PROGRAM = """\
#!/usr/bin/python3
import json, os, signal, socket, sys
VERSION = "{version}"
role = os.path.basename(sys.argv[0])
if VERSION == "broken":
    sys.exit("the stand-in is broken")
if role == "fledx-agent":
    path = os.environ["FLEDX_AGENT_DATA_DIR"] + "/identity.json"
    join = os.environ.get("FLEDX_AGENT_JOIN")
    if join == "refused":
        sys.exit("refused: this registration token is used up")
    elif join and not os.path.exists(path):
        with open(path, "w") as file:
            json.dump({{"node_id": "{node_id}", "host": "cp", "port": 7443, "authority": None}}, file)
else:
    with open(os.environ["FLEDX_CP_DATA_DIR"] + "/ca.pem", "w") as file:
        file.write("stand-in\\n")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
    out.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


def stand_in(version: str, build: str, node_id: str) -> Package:
    """A package whose file does just enough to be installed, started and told apart."""
    data = PROGRAM.format(version=version, node_id=node_id).encode()
    return Package(
        version=version, build=build, digest=hashlib.sha256(data).hexdigest(), machines=("x86_64",), data=data
    )
