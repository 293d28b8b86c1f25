"""The words of the command line itself: its commands, their short forms, and the flags that all of them know."""

from __future__ import annotations

#: Every noun has a file of its name in `commands/`, with `VERBS` or, if it is a command by itself, `VERB`, or both.
NOUNS = {
    "deployments": "ask for containers, see them run, change and stop them",
    "nodes": "the machines that run them",
    "configs": "variables and files that several of them share",
    "secrets": "values that go in and are never shown again",
    "volumes": "the data of replicas: where it lies, into a file, and back",
    "registries": "logins of the registries that images are pulled from",
    "certificates": "what gateways show to browsers, by host",
    "exec": "a command, or a shell, inside a replica",
    "forward": "ports of this machine that lead into a replica",
    "status": "everything at one look",
    "events": "what happened, and why",
    "audit": "who did what",
    "tokens": "who may ask for what",
    "usage": "what replicas use: CPU, memory, network",
    "metrics": "what is asked of the control plane",
    "profile": "the control planes you know",
    "bootstrap": "make hosts a control plane and nodes, over SSH",
    "cp": "run the control plane",
    "agent": "run a node's agent",
    "demo": "a control plane, nodes and an app on this machine, to try",
    "doctor": "what usually goes wrong on this machine, and what mends it",
    "support-bundle": "what a bug report needs, in one file, without a secret",
    "completions": "teach your shell to complete",
    "version": "which fledx this is, and which the control plane is",
}
#: What people type first.
SHORT = {
    "ls": ("deployments", "list"),
    "ps": ("deployments", "list"),
    "rm": ("deployments", "delete"),
    "logs": ("deployments", "logs"),
    "scale": ("deployments", "scale"),
    "apply": ("deployments", "apply"),
    "restart": ("deployments", "restart"),
    "rollback": ("deployments", "rollback"),
    "cordon": ("nodes", "cordon"),
    "uncordon": ("nodes", "uncordon"),
    "drain": ("nodes", "drain"),
    "rebalance": ("nodes", "rebalance"),
    "port-forward": ("forward",),
    "completion": ("completions",),
    "deployment": ("deployments",),
    "node": ("nodes",),
    "config": ("configs",),
    "secret": ("secrets",),
    "registry": ("registries",),
    "certificate": ("certificates",),
    "volume": ("volumes",),
    "profiles": ("profile",),
    "token": ("tokens",),
    "audit-logs": ("audit",),
}
ROLES = {"fledx-cp": "cp", "fledx-agent": "agent"}

OUTPUTS = ("table", "wide", "json", "yaml", "name")
#: Flag, metavar and help, as settings/operator.py declares them; repeated here because declaring costs a start 8 ms,
#: and held equal by a test.
CONNECTION = (
    ("--control-plane-url", "URL", "URL of the control plane [http://localhost:8080]"),
    ("--operator-token", "TOKEN", "your token"),
    ("--operator-header", "HEADER", "header that carries the token [authorization]"),
    ("--registration-token", "TOKEN", "token that registers nodes"),
    ("--ca-cert-path", "PATH", "PEM file of the certificate authority to trust"),
    ("--timeout", "SECONDS", "seconds of silence before giving up [30]"),
)
PROFILE = ("--profile", "NAME", "profile to use [FLEDX_CLI_PROFILE, else the default one]")
#: Flags before the command that take a value: whoever looks for the command must step over both.
VALUED = ("--profile", *(flag for flag, _, _ in CONNECTION), "--token", "-o", "--output")
