"""fledx: control plane, node agent and command line of a container platform for edge fleets, in one file."""

__version__ = "0.1.0"
