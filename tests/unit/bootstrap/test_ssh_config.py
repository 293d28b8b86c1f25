"""Where a word after --ssh-host leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from fledx.bootstrap.ssh_config import SshOptions, Target, config_text, for_jump, route
from fledx.errors import InvalidSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n1", Target(host="n1")),
        ("ops@edge-1.local", Target(host="edge-1.local", user="ops")),
        ("ops@10.0.0.1:2222", Target(host="10.0.0.1", user="ops", port=2222)),
        ("fe80::1", Target(host="fe80::1")),
        ("root@[fe80::1]:22", Target(host="fe80::1", user="root", port=22)),
    ],
)
def test_a_target_is_user_host_and_port(text: str, expected: Target) -> None:
    assert Target.parse(text) == expected


@pytest.mark.parametrize("text", ["", "a b", "@host", "ops@", "host:port", "host:99999", "-oProxyCommand=x", "a@b@c"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="--ssh-host"):
        Target.parse(text)


def test_without_a_config_the_name_is_the_address_and_the_user_oneself() -> None:
    hop = route(Target.parse("n1"), {"hostname": "n1"}, SshOptions(), home="/home/me", login="me")
    assert (hop.address, hop.port, hop.user, hop.key_name) == ("n1", 22, "me", "n1")
    assert hop.known_hosts[0] == "/home/me/.ssh/known_hosts"
    assert hop.known_hosts[-1] == "/etc/ssh/ssh_known_hosts"


def test_an_alias_stands_for_all_that_its_entry_says() -> None:
    found: dict[str, object] = {
        "hostname": "10.0.0.7",
        "port": "2222",
        "user": "ops",
        "identityfile": ["/home/me/.ssh/edge", "none"],
        "identitiesonly": "yes",
        "userknownhostsfile": "~/.ssh/edge_hosts /srv/hosts",
        "hashknownhosts": "yes",
        "proxyjump": "gate,inner:2200",
        "hostkeyalias": "edge",
    }
    hop = route(Target.parse("n1"), found, SshOptions(), home="/home/me", login="me")
    assert (hop.address, hop.port, hop.user, hop.key_name) == ("10.0.0.7", 2222, "ops", "edge")
    assert (hop.identity_files, hop.identities_only) == (("/home/me/.ssh/edge",), True)
    assert hop.known_hosts == ("/home/me/.ssh/edge_hosts", "/srv/hosts", "/etc/ssh/ssh_known_hosts")
    assert (hop.hash_known_hosts, hop.jumps) == (True, ("gate", "inner:2200"))


def test_a_flag_wins_over_the_target_which_wins_over_the_config() -> None:
    found: dict[str, object] = {"hostname": "n1", "port": "2222", "user": "ops", "identityfile": ["/k"]}
    options = SshOptions(user="flag", port=3, identity_file="/own")
    hop = route(Target.parse("text@n1:2"), found, options, home="/home/me", login="me")
    assert (hop.user, hop.port, hop.identity_files) == ("flag", 3, ("/own",))
    hop = route(Target.parse("text@n1:2"), found, SshOptions(), home="/home/me", login="me")
    assert (hop.user, hop.port, hop.identity_files) == ("text", 2, ("/k",))


@pytest.mark.parametrize("word", ["none", "None"])
def test_none_takes_a_way_out(word: str) -> None:
    found: dict[str, object] = {"hostname": "n1", "proxyjump": word, "proxycommand": word, "identityfile": [word]}
    hop = route(Target.parse("n1"), found, SshOptions(), home="/home/me", login="me")
    assert (hop.jumps, hop.command, hop.identity_files) == ((), None, ())


def test_flags_for_the_host_do_not_reach_those_on_the_way() -> None:
    assert for_jump(SshOptions(user="a", port=1, identity_file="k", host_keys="strict")) == SshOptions(
        host_keys="strict"
    )


def test_includes_are_put_in_place_and_one_that_includes_itself_ends(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    (folder / "config.d").mkdir(parents=True)
    (folder / "config").write_text("Include config.d/*\nInclude ~/.ssh/config\nHost z\n  User last\n")
    (folder / "config.d/a").write_text("Host a\n  User first\n")
    text = config_text(str(tmp_path))
    assert text.index("User first") < text.index("User last")


def test_no_config_at_all_is_fine(tmp_path: Path) -> None:
    assert "Host *" in config_text(str(tmp_path))
