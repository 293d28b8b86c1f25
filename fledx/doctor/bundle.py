"""What a bug report needs, in one archive, and nothing that opens a door."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fledx
from fledx.doctor.facts import UNITS, MachineFacts
from fledx.doctor.installed import installation
from fledx.doctor.network import page
from fledx.settings.agent import AgentSettings
from fledx.settings.control_plane import ControlPlaneSettings
from fledx.settings.declare import Setting, declared
from fledx.settings.envfile import values_in
from fledx.settings.operator import OperatorSettings

HIDDEN = "[hidden]"
LOG_LINES = "2000"
LIMIT_BYTES = 4 << 20
SECRET_FILES = ("operator-token", "pepper", "secrets.key", "ca.key", "server.key", "agent.key")
#: Join strings, bearer tokens, private keys, and whatever is assigned to a name that sounds like a secret.
PATTERNS = (
    re.compile(r"fledx-join\.[A-Za-z0-9._~-]+"),
    re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]+"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S),
    re.compile(
        r"(?i)\b([A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|PEPPER|API_KEY)[A-Z0-9_]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]+"
    ),
)


class Veil:
    """Hides the secrets it knows, wherever they stand, and what looks like one."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = sorted({word for word in known if len(word) >= 6}, key=len, reverse=True)

    def over(self, text: str) -> str:
        """The text without them."""
        for word in self._known:
            text = text.replace(word, HIDDEN)
        for pattern in PATTERNS:
            text = pattern.sub(lambda match: (match[1] if match.re.groups else "") + HIDDEN, text)
        return text


def secrets_known(environ: Mapping[str, str], facts: MachineFacts) -> Iterator[str]:
    """Every secret that this user can read on this machine: of the settings, of the roles' directories."""
    names = {each.env for each in _declared() if each.secret or "TOKEN" in each.env}
    units = (installation(role).environment for role in UNITS)
    for source in (environ, *units, *(_values(Path(path)) for path in facts.env_files)):
        for name, value in source.items():
            if name in names or name.startswith("FLEDX_SECRET_"):
                yield from (value, *value.split(","))
    for role in facts.roles:
        apart = [Path(file.path) for file in role.files if Path(file.path).name in SECRET_FILES]
        for path in (*apart, *(Path(str(role.directory)) / name for name in SECRET_FILES if role.directory)):
            yield _read(path).strip()
        if role.directory:
            with contextlib.suppress(ValueError):
                found = json.loads(_read(Path(role.directory) / "identity.json") or "{}")
                yield str(found.get("node_token", ""))


def _declared() -> Iterator[Setting]:
    for cls in (ControlPlaneSettings, AgentSettings, OperatorSettings):
        yield from declared(cls)


def write(target: Path, environ: Mapping[str, str], facts: MachineFacts, findings: Iterable[Mapping[str, Any]]) -> None:
    """Write the archive (0600, whole or not at all); each text has gone through the veil."""
    veil = Veil(secrets_known(environ, facts))
    parts = {
        "doctor.json": json.dumps(list(findings), indent=2),
        "machine.json": json.dumps(_machine(facts), indent=2),
        "settings.txt": _settings(environ, facts),
        **_roles(facts),
    }
    temporary = target.with_name(f".{target.name}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in parts.items():
            body = veil.over(text[-LIMIT_BYTES:]).encode(errors="backslashreplace")
            entry = tarfile.TarInfo(f"fledx-support/{name}")
            entry.size, entry.mtime, entry.mode = len(body), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(body))
    temporary.replace(target)


def _machine(facts: MachineFacts) -> dict[str, Any]:
    return {
        "fledx": fledx.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "roles": [role.role for role in facts.roles],
        "user": facts.user,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.now)),
    }


def _settings(environ: Mapping[str, str], facts: MachineFacts) -> str:
    """Names of what is set, and the values of those that are no secret."""
    secret = {each.env for each in _declared() if each.secret}
    lines = []
    for source, values in (("environment", environ), *((path, _values(Path(path))) for path in facts.env_files)):
        shown = {name: value for name, value in values.items() if name.startswith(("FLEDX_", "RUST_LOG", "DOCKER_"))}
        told = [f"{name}={HIDDEN if _hides(name, secret) else shown[name]}" for name in sorted(shown)]
        lines += [f"# {source}", *told]
    return "\n".join(lines) + "\n"


def _hides(name: str, secret: set[str]) -> bool:
    return name in secret or "TOKEN" in name or name.startswith("FLEDX_SECRET_")


def _roles(facts: MachineFacts) -> dict[str, str]:
    """Logs, and what the roles show on this machine."""
    parts = {}
    for role in facts.roles:
        if role.unit is not None and shutil.which("journalctl"):
            parts[f"{role.role}.log"] = _output(
                "journalctl", "-u", UNITS[role.role], "-n", LOG_LINES, "--no-pager", "-o", "cat"
            )
    for each in facts.pages:
        if shown := page(each.host, each.port, each.path):
            parts[each.name] = shown.decode(errors="replace")
    return parts


def _output(*command: str) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False).stdout
    return ""


def _values(path: Path) -> dict[str, str]:
    return values_in(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
