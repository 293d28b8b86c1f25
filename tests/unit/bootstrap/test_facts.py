"""What the script that looks prints, read into a snapshot."""

from __future__ import annotations

import pytest

from fledx.bootstrap.facts import Docker, Identity, Python, Unit, read_facts
from fledx.bootstrap.host import Done, packed
from fledx.bootstrap.local import execute
from fledx.bootstrap.look import Look
from fledx.errors import Unavailable
from tests.fakes.host import FakeHost, bare_host, told
from tests.unit.bootstrap.wishes import install, wanted


def look_here(order: Look) -> Done:
    command, feed = packed(order)
    return execute(command, feed, order.limit)


def test_a_snapshot_is_read_back_from_the_words_of_the_script() -> None:
    host = FakeHost(
        bare_host(
            pythons=(
                Python(path="/usr/bin/python3", version=(3, 8, 1), bits=32, libc="other", missing=("zlib", "_ssl")),
            ),
            listening={22: "sshd (pid 1)", 8080: None},
            docker=Docker(installed=True, running=True, group="docker", error="timed out"),
        )
    )
    assert read_facts(told(host.facts)) == host.facts


def test_a_host_with_everything_on_it_is_read_back_too() -> None:
    host = FakeHost()
    install(host, wanted())
    host.change(identity=Identity(node_id="5f0c6a1e-1", host="cp.example.com", port=7443, authorities=("aa", "bb")))
    assert read_facts(told(host.facts)) == host.facts


def test_a_script_that_was_cut_short_is_no_snapshot() -> None:
    text = told(bare_host())
    with pytest.raises(Unavailable, match="did not finish describing itself"):
        read_facts(text[: len(text) // 2])
    with pytest.raises(Unavailable):
        read_facts("")


def test_a_unit_that_systemd_does_not_know_is_absent() -> None:
    extra = "unit fledx-cp.service LoadState=not-found\nunit fledx-cp.service ActiveState=inactive\nend\n"
    assert read_facts(told(bare_host()).removesuffix("end\n") + extra).units == {}


def test_times_with_blanks_stay_whole() -> None:
    lines = (
        "unit fledx-cp.service LoadState=loaded\nunit fledx-cp.service ActiveState=active\n"
        "unit fledx-cp.service ActiveEnterTimestamp=Wed 2026-11-25 19:47:20 UTC\nend\n"
    )
    facts = read_facts(told(bare_host()).removesuffix("end\n") + lines)
    assert facts.unit("cp") == Unit(active="active", since="Wed 2026-11-25 19:47:20 UTC")


def test_a_node_id_that_could_be_more_than_that_is_not_taken() -> None:
    extra = "identity $(reboot) cp 7443 -\nend\n"
    facts = read_facts(told(bare_host()).removesuffix("end\n") + extra)
    assert facts.identity is not None
    assert facts.identity.node_id is None


def test_the_script_runs_here_and_finds_what_is_here() -> None:
    done = look_here(Look(bin_dir="/nowhere/bin", data_dir="/nowhere/data"))
    assert (done.code, done.err) == (0, "")
    facts = read_facts(done.out)
    assert facts.system == "Linux"
    assert facts.layout.data_dir == "/nowhere/data"
    assert facts.spaces["/nowhere/data"].free > 0
    assert facts.archives == {}
