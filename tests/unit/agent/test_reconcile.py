"""What becomes of a node's containers: the loop, its lanes and its decisions together, on a fake engine."""

from __future__ import annotations

import anyio
import pytest

from fledx.agent.named_volumes import NamedVolumes
from fledx.agent.runtime.containers import Mount, PullFailed, Refused
from fledx.models.secret import SecretEnv
from fledx.models.volume import VolumeMount
from tests.unit.agent.stage import NODE, Stage, port, replica, running

pytestmark = pytest.mark.anyio


async def test_a_replica_is_made_and_started_with_all_its_marks() -> None:
    async with running() as stage:
        await stage.want(replica(env={"A": "1"}, ports=(port(8080),)))
        (container,) = stage.runtime.running()
        assert container.name == "fledx-web-0-0a1b2c3d"
        assert {
            "fledx.node_id": NODE,
            "fledx.deployment_id": "d-web",
            "fledx.deployment": "web",
            "fledx.replica": "0",
            "fledx.generation": "1",
            "fledx.revision": "1",
            "fledx.template": replica(env={"A": "1"}, ports=(port(8080),)).template,
            "fledx.fence": "1",
            "fledx.restarts": "0",
        } == container.labels
        env = stage.runtime.specs[container.id].env
        assert env == {"A": "1", "FLEDX_DEPLOYMENT": "web", "FLEDX_REPLICA": "0", "FLEDX_NODE": "edge-1"}
        shown = stage.instance()
        assert (shown.state, shown.ready, shown.restart_count, shown.message) == ("running", True, 0, None)
        assert shown.endpoints == ("192.0.2.1:8080",)
        assert stage.kinds() == ["start"]


async def test_nothing_is_touched_before_a_control_plane_has_spoken() -> None:
    stage = Stage()
    container_id = await stage.made(replica())
    async with running(stage):
        await stage.wait(60)
        assert stage.runtime.done == []
        assert [each.id for each in stage.runtime.running()] == [container_id]


async def test_a_fresh_agent_adopts_what_fits_and_restarts_nothing() -> None:
    stage = Stage()
    container_id = await stage.made(replica(), restarts=3)
    async with running(stage):
        await stage.want(replica())
        assert stage.runtime.done == []
        assert stage.instance().container_id == container_id
        assert stage.instance().restart_count == 3
        assert stage.kinds() == ["adopt"]


async def test_a_renamed_container_is_still_ours() -> None:
    async with running() as stage:
        await stage.want(replica())
        stage.runtime.rename_by_hand(stage.runtime.running()[0].id, "mine-now")
        stage.runtime.done.clear()
        await stage.wait(30)
        assert stage.runtime.done == []


async def test_what_is_not_assigned_any_more_is_stopped_and_removed() -> None:
    async with running() as stage:
        await stage.want(replica(0), replica(1))
        await stage.want(replica(1))
        assert [each.labels["fledx.replica"] for each in stage.runtime.all()] == ["1"]
        assert stage.reasons("stop") == ["not assigned to this node any more"]


async def test_foreign_containers_are_never_touched() -> None:
    """Fault 17."""
    async with running() as stage:
        theirs = [
            stage.runtime.foreign("fledx-web-0-0a1b2c3d"),
            stage.runtime.foreign("another-agents", labels={**_labels(), "fledx.node_id": "somebody-else"}),
            stage.runtime.foreign("by-hand", labels={"fledx.node_id": NODE}),
            stage.runtime.foreign("by-hand-2", labels={**_labels(), "fledx.replica": "many"}),
        ]
        await stage.want(replica())
        await stage.want()
        await stage.wait(30)
        assert stage.runtime.all() == theirs


def _labels() -> dict[str, str]:
    return {
        "fledx.node_id": NODE,
        "fledx.deployment_id": "d-web",
        "fledx.deployment": "web",
        "fledx.replica": "0",
        "fledx.generation": "1",
        "fledx.revision": "1",
        "fledx.template": "t",
        "fledx.fence": "1",
    }


async def test_a_name_that_is_taken_is_evaded() -> None:
    """Fault 17, by name."""
    async with running() as stage:
        stage.runtime.foreign("fledx-web-0-0a1b2c3d")
        await stage.want(replica())
        assert "fledx-web-0-0a1b2c3d-2" in [each.name for each in stage.runtime.running()]


async def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    """Fault 17, by port."""
    async with running() as stage:
        stage.runtime.foreign("squatter", ports=(port(8080),))
        await stage.want(replica(ports=(port(8080),)))
        await stage.wait(3.5)
        shown = stage.instance()
        assert shown.state == "failed"
        assert shown.message is not None
        assert shown.message.startswith("port 8080/tcp of node edge-1 is taken by container squatter")
        assert len(stage.runtime.all()) == 1


async def test_a_port_is_waited_for_while_another_replica_of_ours_gives_it_up() -> None:
    async with running() as stage:
        old = replica(0, deployment="old", deployment_id="d-old", ports=(port(8080),))
        await stage.want(old)
        stage.runtime.stop_gates["fledx-old-0-0a1b2c3d"] = gate = anyio.Event()
        await stage.want(replica(ports=(port(8080),)))
        assert stage.instance().message == "port 8080 is being given up by fledx-old-0-0a1b2c3d"
        gate.set()
        await stage.settle()
        assert stage.instance().state == "running"
        assert stage.reasons("failed") == []


async def test_two_replicas_that_swap_their_ports_both_come_up() -> None:
    async with running() as stage:
        await stage.want(replica(0, ports=(port(8080),)), replica(1, ports=(port(8081),)))
        await stage.want(replica(0, ports=(port(8081),)), replica(1, ports=(port(8080),)))
        await stage.wait(5)
        assert [each.ports[0].host_port for each in stage.runtime.running()] == [8081, 8080]


async def test_a_new_template_replaces_the_container_and_keeps_the_old_one_until_the_new_one_is_stable() -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0]
        stage.runtime.done.clear()
        await stage.want(replica(image="app:2", revision=2))
        new = stage.runtime.running()[0]
        assert [each.split()[0] for each in stage.runtime.done] == ["create", "stop", "start"]
        assert stage.reasons("replace") == ["revision 2 follows revision 1"]
        assert [each.state for each in stage.runtime.all() if each.id == old.id] == ["exited"]
        await stage.wait(31)
        assert [each.id for each in stage.runtime.all()] == [new.id]
        assert stage.instance().revision == 2


async def test_a_new_fence_replaces_the_container() -> None:
    async with running() as stage:
        await stage.want(replica())
        await stage.want(replica(fence=2))
        assert stage.reasons("replace") == ["its ownership was renewed (fence 2 follows 1)"]
        assert stage.instance().fence == 2


async def test_a_failed_pull_keeps_the_old_one_serving_and_says_why() -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0]
        stage.runtime.registry["app:9"] = PullFailed("not_found", "image app:9: the registry has no such image or tag")
        await stage.want(replica(image="app:9", revision=2))
        shown = stage.instance()
        assert (shown.state, shown.ready, shown.container_id, shown.revision) == ("running", True, old.id, 1)
        assert shown.message is not None
        assert shown.message.startswith("revision 2 does not start: image app:9: the registry has no such image")
        stage.runtime.registry["app:9"] = None
        await stage.wait(2)
        assert stage.instance().revision == 2


async def test_a_new_one_that_does_not_start_gives_way_to_the_old_one() -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0]
        stage.runtime.refuses["app:2"] = Refused('exec: "srv": executable file not found in $PATH')
        await stage.want(replica(image="app:2", revision=2))
        assert [each.id for each in stage.runtime.running()] == [old.id]
        assert len(stage.runtime.all()) == 1
        assert "executable file not found" in (stage.instance().message or "")


async def test_an_old_one_that_ends_while_its_successor_cannot_start_is_revived() -> None:
    async with running() as stage:
        await stage.want(replica())
        await stage.wait(40)
        old = stage.runtime.running()[0]
        stage.runtime.registry["app:9"] = PullFailed("denied", "image app:9: denied")
        await stage.want(replica(image="app:9", revision=2))
        await stage.wait(120)
        stage.runtime.exit(old.id, 1)
        await stage.settle()
        assert [each.id for each in stage.runtime.running()] == [old.id]


async def test_a_replica_without_a_container_is_told_under_the_fence_it_is_tried_under() -> None:
    async with running() as stage:
        stage.runtime.registry["app:9"] = PullFailed("denied", "image app:9: denied")
        await stage.want(replica(image="app:9", fence=4))
        await stage.wait(5)
        told = stage.instance()
        assert (told.state, told.fence, told.revision, told.container_id) == ("failed", 4, 0, None)


async def test_a_slow_pull_holds_up_nobody_else() -> None:
    async with running() as stage:
        stage.runtime.registry["big:1"] = None
        stage.runtime.gates["big:1"] = gate = anyio.Event()
        await stage.want(replica(0, image="big:1"), *(replica(number) for number in range(1, 20)))
        assert len(stage.runtime.running()) == 19
        assert stage.instance(0).state == "pending"
        assert stage.instance(0).message == "pulling big:1: 1 of 2 MB"
        gate.set()
        await stage.settle()
        assert len(stage.runtime.running()) == 20


async def test_one_pull_serves_all_replicas_that_wait_for_it() -> None:
    async with running() as stage:
        stage.runtime.registry["big:1"] = None
        stage.runtime.gates["big:1"] = gate = anyio.Event()
        await stage.want(*(replica(number, image="big:1") for number in range(3)))
        gate.set()
        await stage.settle()
        assert len(stage.runtime.running()) == 3
        assert stage.runtime.done.count("pull big:1") == 1


async def test_a_pull_is_given_up_when_something_else_is_wanted() -> None:
    async with running() as stage:
        stage.runtime.registry["big:1"] = None
        stage.runtime.gates["big:1"] = anyio.Event()
        await stage.want(replica(image="big:1"))
        await stage.want(replica(image="app:2", revision=2))
        assert [each.image for each in stage.runtime.running()] == ["app:2"]


async def test_a_stopped_deployment_keeps_nothing_running_and_starts_again_from_what_is_there() -> None:
    async with running() as stage:
        await stage.want(replica())
        (container,) = stage.runtime.running()
        await stage.want(replica(desired_state="stopped", generation=2))
        assert stage.runtime.running() == []
        assert stage.instance().state == "stopped"
        await stage.want(replica(generation=3))
        assert [each.id for each in stage.runtime.running()] == [container.id]
        assert stage.instance().restart_count == 0


async def test_a_job_that_was_stopped_runs_anew_when_it_is_started() -> None:
    async with running() as stage:
        await stage.want(replica(restart="never"))
        stage.runtime.exit(stage.runtime.running()[0].id, 0)
        await stage.wait(1)
        await stage.want(replica(restart="never", desired_state="stopped"))
        assert stage.runtime.all() == []
        await stage.want(replica(restart="never"))
        assert len(stage.runtime.running()) == 1


async def test_a_missing_secret_is_told_and_awaited() -> None:
    async with running() as stage:
        await stage.want(replica(secret_env=(SecretEnv(name="TOKEN", secret="api"),)))
        assert stage.instance().state == "failed"
        assert (stage.instance().message or "").startswith(
            "secret api is neither with the control plane nor on this node (`fledx secrets set api`, or"
        )


async def test_secrets_of_the_node_reach_the_container() -> None:
    async with running(Stage(environ={"FLEDX_SECRET_api": "hush"})) as stage:
        await stage.want(replica(env={"TOKEN": "own"}, secret_env=(SecretEnv(name="TOKEN", secret="api"),)))
        assert stage.runtime.specs[stage.runtime.running()[0].id].env["TOKEN"] == "hush"


@pytest.mark.parametrize("state", ["created", "exited", "paused"])
async def test_what_does_not_run_but_fits_is_started_where_it_is(state: str) -> None:
    stage = Stage()
    container_id = await stage.made(replica(), state=state)
    async with running(stage):
        await stage.want(replica())
        assert [each.id for each in stage.runtime.running()] == [container_id]
        assert len(stage.runtime.all()) == 1


@pytest.mark.parametrize("state", ["dead", "restarting"])
async def test_what_cannot_be_started_is_replaced_by_another(state: str) -> None:
    stage = Stage()
    container_id = await stage.made(replica(), state=state)
    async with running(stage):
        await stage.want(replica())
        (container,) = stage.runtime.running()
        assert container.id != container_id
        assert len(stage.runtime.all()) == 1


async def test_of_two_containers_for_one_replica_the_elder_that_fits_stays() -> None:
    stage = Stage()
    await stage.made(replica(image="app:2"))
    elder = await stage.made(replica())
    await stage.made(replica())
    async with running(stage):
        await stage.want(replica())
        assert [each.id for each in stage.runtime.all()] == [elder]


async def test_an_interrupted_replacement_goes_on_with_the_container_that_was_made() -> None:
    stage = Stage()
    await stage.made(replica())
    prepared = await stage.made(replica(image="app:2", revision=2), state="created")
    async with running(stage):
        await stage.want(replica(image="app:2", revision=2))
        assert [each.id for each in stage.runtime.running()] == [prepared]
        assert not any(each.startswith("create") for each in stage.runtime.done)


async def test_a_removal_that_docker_refuses_is_tried_again_with_growing_waits() -> None:
    async with running() as stage:
        await stage.want(replica())
        name = stage.runtime.running()[0].name

        async def refuse(container_id: str) -> None:
            stage.runtime.done.append("refused")
            raise Refused("device or resource busy")

        stage.runtime.remove = refuse  # type: ignore[method-assign]
        await stage.want()
        await stage.wait(10)
        assert 2 <= stage.runtime.done.count("refused") <= 5
        assert name in [each.name for each in stage.runtime.all()]


async def test_a_revision_that_changes_only_what_the_agent_does_keeps_the_container_and_is_told_as_reached() -> None:
    async with running() as stage:
        await stage.want(replica())
        old = stage.runtime.running()[0]
        await stage.want(replica(revision=2, stop_grace_seconds=3.0))
        assert [each.id for each in stage.runtime.all()] == [old.id]
        assert (stage.instance().revision, stage.instance().ready) == (2, True)


async def test_fault_42_a_policy_that_was_tightened_later_stops_the_next_start_and_says_why() -> None:
    async with running() as stage:
        await stage.want(replica(privileged=True))
        assert stage.runtime.running() == []
        shown = stage.instance()
        assert shown.state in ("pending", "failed")
        assert "this node does not allow privileged" in (shown.message or "")


async def test_a_volume_by_name_is_made_once_and_mounted_by_every_container_of_its_replica() -> None:
    volumes = (VolumeMount(name="data", container_path="/data"),)
    names = {"data": "fledx-web-data-0"}
    async with running() as stage:
        await stage.want(replica(volumes=volumes, volume_names=names))
        first = stage.runtime.running()[0]
        assert (Mount(source="fledx-web-data-0", target="/data", volume=True),) == stage.runtime.specs[first.id].mounts
        assert "d-web" == stage.runtime.volumes["fledx-web-data-0"]["fledx.deployment_id"]
        await stage.want(replica(image="app:2", volumes=volumes, volume_names=names))
        second = stage.runtime.running()[0]
        assert first.id != second.id
        assert stage.runtime.specs[first.id].mounts == stage.runtime.specs[second.id].mounts
        assert ["make volume fledx-web-data-0"] == [each for each in stage.runtime.done if "volume" in each]


async def test_a_strangers_volume_of_the_same_name_is_neither_mounted_nor_deleted() -> None:
    async with running() as stage:
        stage.runtime.volumes["fledx-web-data-0"] = {"made": "by hand"}
        await stage.want(replica(volumes=(VolumeMount(name="data", container_path="/data"),)))
        (container,) = stage.runtime.running()
        assert ["fledx-web-data-0-0a1b2c3d"] == [mount.source for mount in stage.runtime.specs[container.id].mounts]
        await stage.want()
        volumes = NamedVolumes(stage.runtime, NODE)
        assert ["fledx-web-data-0"] == await volumes.drop(["fledx-web-data-0"])
        assert {"fledx-web-data-0": {"made": "by hand"}} == stage.runtime.volumes
        assert ["fledx-web-data-0"] == await volumes.drop(["fledx-web-data-0"])
        assert {"fledx-web-data-0": {"made": "by hand"}} == stage.runtime.volumes


async def test_a_volume_that_a_container_has_is_deleted_when_that_is_gone() -> None:
    async with running() as stage:
        await stage.want(replica(volumes=(VolumeMount(name="data", container_path="/data"),)))
        volumes = NamedVolumes(stage.runtime, NODE)
        assert [] == await volumes.drop(["fledx-web-data-0"])
        await stage.want()
        assert ["fledx-web-data-0"] == await volumes.drop(["fledx-web-data-0"])
        assert {} == stage.runtime.volumes
