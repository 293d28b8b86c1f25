"""
A bed of hosts and a registry on a network of their own.

`cp` and `n1`, `n2`, … have engines; `add` makes others, a ``fresh`` one without Docker among them. What a bed consists
of is read from the labels of its containers, so that one process can make it and another use it. `python -m tests.bed`
does this by hand.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bed import images
from tests.bed.commands import run
from tests.bed.host import Host
from tests.bed.registry import PORT, Registry
from tests.bed.slots import Slot

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
REGISTRIES = {"registry": 2, "private": 3}
OTHERS_FROM = 100
"""Last number of the address: cp 10, n1 11 and so on, all other hosts from here."""

# `--privileged` is refused where the outer engine itself lacks CAP_SYS_RESOURCE. These give what systemd and an engine
# inside need; SYS_TIME and SYS_MODULE are held back because they act on the machine below.
FLAGS = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--cap-drop=SYS_TIME", "--cap-drop=SYS_MODULE"),
    *(f"--security-opt={feature}=unconfined" for feature in ("seccomp", "apparmor", "systempaths")),
    *("--cgroupns=private", "--tmpfs=/run:exec", "--tmpfs=/run/lock"),
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """
    What kind of host to make.

    ``target`` is ``host`` or ``fresh`` (no Docker, no pip, no venv). ``memory`` and ``disk`` are sizes as Docker writes
    them (``512m``); a ``disk`` is that of /var/lib/docker, in memory and lost when the host stops. Without ``engine``
    the host's Docker is installed but masked.
    """

    target: str = "host"
    suite: str = images.BOOKWORM
    memory: str | None = None
    disk: str | None = None
    engine: bool = True


class Hosts:
    """The hosts of one bed by name; usable as a context manager."""

    def __init__(self, name: str, subnet: str) -> None:
        self.name = name
        self.subnet = subnet
        self.home = Path(tempfile.gettempdir(), f"fledx-bed-{name}")
        """A home folder for programs under test: its .ssh has the key, the config and known hosts."""
        self.registry = Registry("registry", container=f"{name}-registry", home=self.home)
        self.private = Registry("private", container=f"{name}-private", home=self.home)
        self._label = f"fledx-bed={name}"
        self._slot: Slot | None = None

    @classmethod
    def claimed(cls) -> Hosts:
        """An empty bed of this process, under a name of its own."""
        slot = Slot.claim("hosts")
        bed = _numbered(slot.number)
        bed._slot = slot
        return bed

    def up(self, count: int, *, shape: Shape | None = None, internet: bool = True, private: bool = False) -> None:
        """Have the registry, cp and n1 to n``count``; ``private`` adds the registry with a password."""
        shape = shape or Shape()
        self._prepare(internet=internet)
        for registry in ["registry", "private"] if private else ["registry"]:
            self._add_registry(registry, images.ensure("registry", shape.suite))
        names = ["cp", *(f"n{index}" for index in range(1, count + 1))]
        missing = [name for name in names if name not in self]
        images.ensure(shape.target, shape.suite)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.add(name, shape), missing))

    def add(self, name: str, shape: Shape | None = None) -> Host:
        """One more host, booted."""
        return self._make(name, shape or Shape(), self._address(name))

    def remove(self, name: str) -> None:
        """Take a host away with all its data."""
        run("docker", "rm", "-fv", f"{self.name}-{name}")
        run("ssh-keygen", "-R", self._address(name), "-f", self.home / ".ssh/known_hosts", check=False)
        self._write_ssh_config()

    def renew(self, *names: str) -> None:
        """Replace hosts by new ones of the same name, address and shape: other keys, no data."""
        known = {name: (self._shape(name), self._address(name)) for name in names}

        def again(name: str) -> None:
            self.remove(name)
            self._make(name, *known[name])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(again, names))

    def restore(self) -> None:
        """Every host running, not frozen and on a sound network; what is installed on it stays."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(Host.restore, self))

    def down(self) -> None:
        """Remove everything but the images."""
        containers = run("docker", "ps", "-aq", "--filter", f"label={self._label}").split()
        if containers:
            run("docker", "rm", "-fv", *containers)
        networks = run("docker", "network", "ls", "-q", "--filter", f"label={self._label}").split()
        if networks:
            run("docker", "network", "rm", *networks)
        shutil.rmtree(self.home, ignore_errors=True)
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    @property
    def gateway(self) -> str:
        """This machine, as the hosts see it."""
        return f"{self.subnet}.1"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`; it knows the hosts by name."""
        return self.home / ".ssh/config"

    @property
    def ssh_key(self) -> Path:
        """The private key that every user of every host accepts."""
        return self.home / ".ssh/id_ed25519"

    def __getitem__(self, name: str) -> Host:
        return self._host(name, self._address(name))

    def __iter__(self) -> Iterator[Host]:
        return (self[name] for name in sorted(self._addresses(), key=lambda name: (name != "cp", len(name), name)))

    def __contains__(self, name: object) -> bool:
        return name in self._addresses()

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _make(self, name: str, shape: Shape, address: str) -> Host:
        words = ["-d", "--name", f"{self.name}-{name}", "--hostname", name, *self._labels(name, address, shape), *FLAGS]
        words += ["--network", self._network, "--network-alias", name, "--ip", address]
        words += ["-v", f"{self.home}/share:/etc/bed:ro", "-e", f"BED_DOCKER={int(shape.engine)}"]
        # overlay2 needs something else below it than the container's own overlay: a volume, or a tmpfs with a size.
        tmpfs = f"type=tmpfs,destination=/var/lib/docker,tmpfs-size={shape.disk}"
        words += ["--mount", tmpfs] if shape.disk else ["-v", "/var/lib/docker"]
        words += ["--memory", shape.memory] if shape.memory else []
        run("docker", "run", *words, images.ensure(shape.target, shape.suite))
        self._write_ssh_config()
        host = self._host(name, address)
        host.wait()
        return host

    def _host(self, name: str, address: str) -> Host:
        return Host(name, address=address, container=f"{self.name}-{name}", home=self.home)

    @property
    def _network(self) -> str:
        return f"{self.name}-net"

    def _addresses(self) -> dict[str, str]:
        """Of all hosts there are."""
        template = '{{.Label "fledx-bed.host"}} {{.Label "fledx-bed.address"}}'
        lines = run("docker", "ps", "-a", "--filter", f"label={self._label}", "--format", template).splitlines()
        pairs = (line.split(" ", 1) for line in lines if line.strip())
        return dict(pairs)

    def _address(self, name: str) -> str:
        """The one it has, else the one it will have."""
        if name == "cp":
            return f"{self.subnet}.10"
        if re.fullmatch(r"n[1-9]\d?", name):
            return f"{self.subnet}.{10 + int(name[1:])}"
        there = self._addresses()
        taken = [int(address.rpartition(".")[2]) for address in there.values()]
        return there.get(name) or f"{self.subnet}.{max([OTHERS_FROM, *taken]) + 1}"

    def _labels(self, name: str, address: str, shape: Shape) -> list[str]:
        facts = {"fledx-bed": self.name, "fledx-bed.host": name, "fledx-bed.address": address}
        facts["fledx-bed.shape"] = json.dumps(vars(shape))
        return [word for key, value in facts.items() for word in ("--label", f"{key}={value}")]

    def _shape(self, name: str) -> Shape:
        template = '{{index .Config.Labels "fledx-bed.shape"}}'
        return Shape(**json.loads(run("docker", "inspect", "-f", template, f"{self.name}-{name}")))

    def _add_registry(self, name: str, image: str) -> None:
        container = f"{self.name}-{name}"
        if run("docker", "ps", "-aq", "--filter", f"name=^{container}$"):
            return
        words = ["-d", "--name", container, "--hostname", name, "--label", self._label, "-p", f"127.0.0.1::{PORT}"]
        run("docker", "run", *words, image, f"/etc/docker/registry/{name}.yml")
        address = f"{self.subnet}.{REGISTRIES[name]}"
        run("docker", "network", "connect", "--ip", address, "--alias", name, self._network, container)

    def _prepare(self, *, internet: bool) -> None:
        """The network, the key, and the folder that hosts read at every boot."""
        (self.home / ".ssh").mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.ssh_key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"fledx-{self.name}", "-f", self.ssh_key)
        share = self.home / "share"
        share.mkdir(exist_ok=True)
        shutil.copy(f"{self.ssh_key}.pub", share / "authorized_keys")
        if CA_BUNDLE.exists():
            shutil.copy(CA_BUNDLE, share)
        (share / "daemon.json").write_text(json.dumps(self._engine_settings(internet=internet), indent=1))
        if not run("docker", "network", "ls", "-q", "--filter", f"name=^{self._network}$"):
            words = ["--subnet", f"{self.subnet}.0/24", "--gateway", self.gateway, "--label", self._label]
            words += [] if internet else ["--internal"]
            run("docker", "network", "create", *words, "-o", "com.docker.network.driver.mtu=1400", self._network)

    def _engine_settings(self, *, internet: bool) -> dict[str, object]:
        """Plain HTTP for our registries, networks that do not meet those of the machine below, its resolvers."""
        resolvers = re.findall(r"^nameserver (?!127\.)(\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
        return {
            "insecure-registries": [f"{self.subnet}.0/24", *(f"{name}:{PORT}" for name in REGISTRIES)],
            "mtu": 1400,
            "bip": "172.29.0.1/24",
            "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}],
            **({"dns": resolvers} if resolvers and internet else {}),
        }

    def _write_ssh_config(self) -> None:
        """The hosts by name, for `ssh -F` and for programs whose home is ours."""
        blocks = [f"Host {name}\n  HostName {address}\n" for name, address in sorted(self._addresses().items())]
        folder = self.home / ".ssh"
        blocks.append(
            f"Host *\n  User ops\n  IdentityFile {self.ssh_key}\n  IdentitiesOnly yes\n  LogLevel ERROR\n"
            f"  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking accept-new\n"
        )
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as partial:
            partial.write("\n".join(blocks))
        Path(partial.name).replace(self.ssh_config)


def _numbered(number: int) -> Hosts:
    return Hosts(f"bed{number}", f"10.77.{number}")


def sweep(number: int) -> None:
    """Remove what a bed of this number left."""
    _numbered(number).down()
