"""
What can go wrong with one machine's network, done inside its own network namespace.

Packets are dropped in chains of the raw table: an engine's own rules lie elsewhere, raw PREROUTING also sees what
containers send and receive, and the rules vanish with the namespace. Delay goes through an NFQUEUE and `delay.py`, as
not every kernel has netem.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

QUEUE = 7

CHAINS = """
for pair in PREROUTING:BED-IN OUTPUT:BED-OUT; do
  hook=${pair%:*} chain=${pair#*:}
  iptables -w -t raw -n -L $chain >/dev/null 2>&1 || iptables -w -t raw -N $chain
  iptables -w -t raw -C $hook -j $chain 2>/dev/null || iptables -w -t raw -I $hook -j $chain
done
"""


class Faults:
    """
    Faults of the machine with this address.

    ``shell`` runs a script as root in the machine's network namespace. ``others`` is the address range
    (``10.77.0.2-10.77.0.254``) that `isolate`, `loss` and `delay` apply to: every machine of the bed but not, where
    that must still come in by ssh, the one all run on. ``delay_program`` is `delay.py` as the shell sees it.
    """

    def __init__(
        self, shell: Callable[[str], object], *, address: str, others: str, delay_program: Path, delay_pid: Path
    ) -> None:
        self._shell = shell
        self._address = address
        self._others = others
        self._gateway = address.rpartition(".")[0] + ".1"
        self._delay_program = delay_program
        self._delay_pid = delay_pid

    def cut(self, *peers: str, one_way: bool = False) -> None:
        """Drop what goes to and comes from the peers (addresses or ranges); with ``one_way`` only what goes to them."""
        for peer in peers:
            self._drop(peer, one_way=one_way)

    def isolate(self) -> None:
        """Drop what goes to and comes from all others."""
        self._drop(self._others)

    def loss(self, share: float) -> None:
        """Lose this share (0 to 1) of the packets to and from others, each way by itself."""
        self._drop(self._others, match=f"-m statistic --mode random --probability {share}")

    def delay(self, seconds: float, *, jitter: float = 0.0) -> None:
        """Hold back what is sent to others by so many seconds, plus or minus the jitter."""
        self._shell(f"""{self._undelay()}
setsid python3 {self._delay_program} {self._delay_pid} {QUEUE} {seconds} {jitter} </dev/null >/dev/null 2>&1 &
for attempt in $(seq 100); do [ ! -e {self._delay_pid} ] || break; sleep 0.05; done
[ -e {self._delay_pid} ]
iptables -w -t mangle -I POSTROUTING {self._queued()}
""")

    def rate(self, bits: float) -> None:
        """Limit what is sent to so many bits a second."""
        self._shell(f"tc qdisc replace dev eth0 root tbf rate {int(bits)}bit burst 16kb latency 400ms")

    def unplug(self) -> None:
        """Pull the network cable."""
        self._shell("ip link set eth0 down")

    def plug(self) -> None:
        """Put the network cable back."""
        self._shell(f"ip link set eth0 up\nip route replace default via {self._gateway}")

    def heal(self) -> None:
        """Undo all of these."""
        self._shell(f"""
ip link set eth0 up; ip route replace default via {self._gateway}
tc qdisc del dev eth0 root 2>/dev/null || :
for chain in BED-IN BED-OUT; do iptables -w -t raw -F $chain 2>/dev/null || :; done
{self._undelay()}""")

    def _drop(self, peers: str, *, one_way: bool = False, match: str = "") -> None:
        there = f"-m iprange --dst-range {_range(peers)} {match} -j DROP"
        back = f"-m iprange --src-range {_range(peers)} {match} -j DROP"
        rules = [
            f"iptables -w -t raw -A BED-OUT {there}",
            f"iptables -w -t raw -A BED-IN ! -d {self._address} {there}",
        ]
        if not one_way:
            rules.append(f"iptables -w -t raw -A BED-IN {back}")
        self._shell("\n".join([CHAINS, *rules]))

    def _queued(self) -> str:
        return f"-m iprange --dst-range {self._others} -j NFQUEUE --queue-num {QUEUE} --queue-bypass"

    def _undelay(self) -> str:
        return f"""
while iptables -w -t mangle -D POSTROUTING {self._queued()} 2>/dev/null; do :; done
[ ! -e {self._delay_pid} ] || kill $(cat {self._delay_pid}) 2>/dev/null || :
rm -f {self._delay_pid}
"""


def _range(peers: str) -> str:
    return peers if "-" in peers else f"{peers}-{peers}"
