"""
Several Docker engines on one machine, for agents, control planes and their failures; there is no ssh and no systemd.

All reach each other and this machine, which is ``bed.gateway`` to them. A second dockerd must never run in the network
namespace of the first: it would take its bridge away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fledx.sample.image import NAME
from tests.bed.commands import run
from tests.bed.engine import Engine
from tests.bed.slots import Slot


class Engines:
    """The engines of one bed, ``e1`` and so on by name; usable as a context manager."""

    def __init__(self, number: int, options: Sequence[str] = ()) -> None:
        self.prefix = f"fx{number}"
        self.bridge = f"{self.prefix}br"
        self.subnet = f"10.79.{number}"
        self.gateway = f"{self.subnet}.1"
        self.home = Path(tempfile.gettempdir(), f"fledx-engines-{number}")
        self.options = options
        self._engines: dict[str, Engine] = {}
        self._slot: Slot | None = None

    @classmethod
    def up(cls, count: int, *, options: Sequence[str] = ()) -> Engines:
        """A new bed with so many engines that answer; ``options`` are added to each dockerd's command line."""
        slot = Slot.claim("engines")
        bed = cls(slot.number, options)
        bed._slot = slot
        try:
            bed._connect()
            bed.add(count)
        except BaseException:
            bed.down()
            raise
        return bed

    def add(self, count: int, *, disk: int | None = None) -> None:
        """More engines; `disk` gives each a small one, of so many bytes."""
        first = len(self._engines) + 1
        new = [self._engine(index) for index in range(first, first + count)]
        for engine in new:
            engine.create()
            if disk is not None:
                engine.give_disk(disk)
            engine.launch()
        for engine in new:
            engine.wait()

    def load_sample(self, name: str = NAME) -> str:
        """Have the sample image in every engine; returns its name."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda engine: engine.load_sample(name), self))
        return name

    def down(self) -> None:
        """Remove everything."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(Engine.destroy, self))
        for table, chain, *rule in self._rules():
            run("iptables", "-w", "-t", table, "-D", chain, *rule, check=False)
        run("ip", "link", "del", self.bridge, check=False)
        if self.home.exists():
            shutil.rmtree(self.home)
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def reset(self) -> None:
        """Every engine as new, see `Engine.reset`."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(Engine.reset, self))

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def __len__(self) -> int:
        return len(self._engines)

    def __getitem__(self, name: str) -> Engine:
        return self._engines[name]

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def adopt(self) -> None:
        """Take over the engines that another process left under this number."""
        for home in sorted(self.home.glob("e*")):
            self._engine(int(home.name[1:]))

    def _engine(self, index: int) -> Engine:
        name = f"e{index}"
        engine = self._engines[name] = Engine(
            name,
            address=f"{self.subnet}.{10 + index}",
            bridge=self.bridge,
            namespace=f"{self.prefix}{name}",
            home=self.home / name,
            options=self.options,
        )
        return engine

    def _connect(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for table, chain, *rule in self._rules():
            run("iptables", "-w", "-t", table, "-I", chain, *rule)
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def _rules(self) -> list[list[str]]:
        """A running dockerd has FORWARD drop what it does not know."""
        return [
            ["filter", "FORWARD", "-i", self.bridge, "-j", "ACCEPT"],
            ["filter", "FORWARD", "-o", self.bridge, "-j", "ACCEPT"],
            ["nat", "POSTROUTING", "-s", f"{self.subnet}.0/24", "!", "-o", self.bridge, "-j", "MASQUERADE"],
        ]


def sweep(number: int) -> None:
    """Remove what a bed of this number left."""
    bed = Engines(number)
    bed.adopt()
    bed.down()
