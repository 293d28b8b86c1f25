"""The flags of every command equal what the settings declare."""

from __future__ import annotations

from argparse import Namespace

import pytest

from fledx.cli.command import Command
from fledx.cli.options import Parser, add_connection, one, refs
from fledx.cli.words import CONNECTION, NOUNS, SHORT, VALUED
from fledx.errors import InvalidSpec
from fledx.settings.declare import declared
from fledx.settings.operator import OperatorSettings


def test_the_flags_are_those_that_the_settings_declare() -> None:
    assert [(each.flag, each.help) for each in declared(OperatorSettings)] == [
        (flag, text) for flag, _, text in CONNECTION
    ]


def test_whoever_looks_for_the_command_steps_over_every_flag_with_a_value() -> None:
    parser = Parser("fledx", "")
    add_connection(parser)
    valued = {
        flag
        for action in parser._actions
        if action.nargs is None
        for flag in action.option_strings
        if action.option_strings
    }
    assert valued == set(VALUED)


@pytest.mark.parametrize("noun", sorted({*NOUNS, *SHORT}))
def test_every_command_has_help_and_a_parser(noun: str) -> None:
    command = Command([noun])
    for verb in [command.verb] if command.verb else command.verbs.values():
        assert verb.help
        assert not verb.help.endswith(".")
    for name in command.verbs:
        Command([noun, name]).parser().format_help()


def test_a_thing_is_named_by_place_or_by_flag_each_once() -> None:
    args = Namespace(refs=["a", "b"], id=["b"], name=["c"])

    assert refs(args) == ["a", "b", "c"]


@pytest.mark.parametrize(("found", "told"), [([], "which node"), (["a", "b"], "one node at a time, not a, b")])
def test_one_thing_means_one(found: list[str], told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        one(found, "node")


README = """
status
status --watch
status --node-status ready --deploy-status running
status --nodes-only
status --deploys-only
deployments create --name nginx-demo --image nginx:latest --replicas 2 --port 80
deployments create --name myapp --image myapp:v1.0 --replicas 3 --port 8080
deployments list
deployments list --status running --wide
deployments status
deployments status --status running
deployments update --id 11111111-aaaa-4aaa-8aaa-111111111111 --image myapp:v1.1
deployments update --id 11111111-aaaa-4aaa-8aaa-111111111111 --replicas 5
deployments watch --id 11111111-aaaa-4aaa-8aaa-111111111111
deployments watch --id 11111111-aaaa-4aaa-8aaa-111111111111 --follow-logs
deployments stop --id 11111111-aaaa-4aaa-8aaa-111111111111
deployments delete --id 11111111-aaaa-4aaa-8aaa-111111111111
deployments logs
deployments logs --resource-id 11111111-aaaa-4aaa-8aaa-111111111111 --follow
nodes register --name edge-node-1 --arch amd64 --os linux
nodes register --name edge-node-1 --label region=eu --label zone=west
nodes list
nodes list --status ready --wide
nodes status
nodes status --status unreachable
metrics show
metrics show --limit 10 --json
usage list --deployment 11111111-aaaa-4aaa-8aaa-111111111111
usage list --node 11111111-aaaa-4aaa-8aaa-111111111111 --range 30m
profile list
profile show
profile show --name production
profile set --name production --control-plane-url https://cp.example.com --operator-token TOKEN
profile set-default --name production
--profile production status
cp --migrations-dry-run
cp --json-logs
"""


@pytest.mark.parametrize("line", README.strip().splitlines())
def test_the_command_lines_of_the_missions_readme_are_understood(line: str) -> None:
    command = Command(line.split())

    assert command.verb is not None
    command.parse(command.parser())


@pytest.mark.parametrize("word", ["", " ", "\n", "\t\t", "\x00"])
def test_a_word_of_nothing_is_a_wrong_word_and_no_fault_of_ours(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(["nodes", "list", word])

    with pytest.raises(SystemExit) as ended:
        command.parse(command.parser())

    assert ended.value.code == 2
    assert "unknown word" in capsys.readouterr().err


def test_a_command_for_a_container_is_told_to_stand_behind_its_mark(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(["exec", "web", "ls"])

    with pytest.raises(SystemExit):
        command.parse(command.parser())
    assert "unknown word 'ls': a command for the container goes after a `--` of its own" in capsys.readouterr().err
