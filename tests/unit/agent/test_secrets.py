"""What a container gets of secrets and configs: from the node first, in memory only, sealed where it is stored."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from fledx.agent.clock import Clock
from fledx.agent.desired import DesiredState
from fledx.agent.memory import MemoryFile, MemoryFiles, file_system, places
from fledx.agent.secrets import NodeSecrets
from fledx.agent.vault import Vault
from fledx.errors import InvalidSpec, NotFound
from fledx.models.codec import encode
from fledx.models.desired import NodeDesiredState, ReplicaDesired, ReplicaFile
from fledx.models.registry import RegistryLogin
from fledx.models.secret import SecretEnv, SecretFile, SecretValue
from tests.unit.agent.stage import NODE, replica, running

pytestmark = pytest.mark.anyio
DB = (SecretEnv(name="PASSWORD", secret="db"),)
FILE = (SecretFile(path="/run/db", secret="db"),)
MEMORY = "/dev/shm"


@pytest.fixture
def memory(tmp_path: Path) -> Any:
    made = MemoryFiles(tmp_path.name[-8:] + "-node", (MEMORY,))
    yield made
    made.sweep(())
    made.root().rmdir()


def lookup(memory: MemoryFiles | None = None, directory: Path | None = None, **environ: str) -> NodeSecrets:
    return NodeSecrets(environ, prefix="FLEDX_SECRET_", directory=str(directory or "/nonexistent"), memory=memory)


def sent(value: bytes, **changes: Any) -> ReplicaDesired:
    """A replica that the control plane sent the secret `db` with."""
    return replica(secrets=(SecretValue.of("db", value),), secrets_digest="d1", **changes)


def test_the_nodes_own_secret_wins_over_the_central_one() -> None:
    wanted = sent(b"central", secret_env=DB)

    assert lookup().variables(wanted) == {"PASSWORD": "central"}
    assert lookup(FLEDX_SECRET_db="own").variables(wanted) == {"PASSWORD": "own"}


def test_a_secret_that_is_nowhere_says_how_to_make_it_and_an_optional_one_is_left_out() -> None:
    with pytest.raises(NotFound, match="neither with the control plane nor on this node") as refusal:
        lookup().variables(replica(secret_env=DB))
    assert "fledx secrets set db" in str(refusal.value.hint)

    optional = (SecretEnv(name="PASSWORD", secret="db", optional=True),)
    assert lookup().variables(replica(secret_env=optional)) == {}


def test_bytes_that_are_no_text_are_refused_as_a_variable_without_showing_them(memory: MemoryFiles) -> None:
    with pytest.raises(InvalidSpec, match="secret db is no text") as refusal:
        lookup(memory).variables(sent(b"\xff\x00binary", secret_env=DB))
    assert "binary" not in str(refusal.value)

    (mount,) = lookup(memory).mounts(sent(b"\xff\x00binary", secret_files=FILE))
    assert Path(mount.source).read_bytes() == b"\xff\x00binary"


def test_a_secret_file_lies_in_memory_for_its_owner_alone_and_is_mounted_read_only(memory: MemoryFiles) -> None:
    (mount,) = lookup(memory).mounts(sent(b"hunter2", secret_files=FILE))

    path = Path(mount.source)
    assert (mount.target, mount.read_only) == ("/run/db", True)
    assert path.read_bytes() == b"hunter2"
    assert path.stat().st_mode & 0o777 == 0o400
    assert file_system(path) in ("tmpfs", "ramfs")
    assert memory.root().stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_secret_file_is_given_to_whom_it_is_asked_for(memory: MemoryFiles) -> None:
    wanted = (SecretFile(path="/run/db", secret="db", owner="1000:1001", mode="0440"),)

    (mount,) = lookup(memory).mounts(sent(b"hunter2", secret_files=wanted))

    found = Path(mount.source).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1000, 1001, 0o440)


def test_a_file_of_the_nodes_own_directory_is_mounted_as_it_lies_there(tmp_path: Path, memory: MemoryFiles) -> None:
    (tmp_path / "db").write_text("own")

    (mount,) = lookup(memory, tmp_path).mounts(sent(b"central", secret_files=FILE))

    assert mount.source == str(tmp_path / "db")


@pytest.mark.parametrize("name", ["..", "../db", "link", "sub"])
def test_a_name_that_leads_out_of_the_directory_is_absent(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "secrets"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "db").write_text("outside")
    (inside / "link").symlink_to(tmp_path / "db")

    assert lookup(directory=inside)._file(name) is None
    assert lookup(directory=inside).names() == ()


def test_a_node_tells_the_names_of_its_own_secrets(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("x")

    assert lookup(directory=tmp_path, FLEDX_SECRET_db="1", OTHER="2").names() == ("db", "tls")


def test_config_files_may_be_read_by_anybody_in_the_container(memory: MemoryFiles) -> None:
    files = (ReplicaFile(path="/etc/app.conf", content=base64.b64encode(b"colour = blue").decode()),)

    (mount,) = lookup(memory).mounts(replica(files=files))

    assert Path(mount.source).read_bytes() == b"colour = blue"
    assert Path(mount.source).stat().st_mode & 0o777 == 0o444


def test_writing_a_file_again_leaves_what_a_running_container_has_open(memory: MemoryFiles) -> None:
    first = memory.put(("d", 0), "t1", [MemoryFile(target="/x", content=b"old")])
    with open(first[0].source, "rb") as opened:
        again = memory.put(("d", 0), "t1", [MemoryFile(target="/x", content=b"new")])
        assert opened.read() == b"old"
    assert again == first
    assert Path(again[0].source).read_bytes() == b"new"


def test_files_of_containers_that_are_gone_are_swept_and_no_others(memory: MemoryFiles) -> None:
    kept = memory.put(("d", 0), "t1", [MemoryFile(target="/x", content=b"1")])
    gone = memory.put(("d", 0), "t2", [MemoryFile(target="/x", content=b"2")])
    other = memory.put(("e", 0), "t1", [MemoryFile(target="/x", content=b"3")])

    memory.sweep([(("d", 0), "t1")])

    assert Path(kept[0].source).exists()
    assert not Path(gone[0].source).exists()
    assert not Path(other[0].source).parent.parent.exists()


def test_a_disk_is_no_memory(tmp_path: Path) -> None:
    on_disk = next(path for path in (Path("/var/tmp"), Path("/"), tmp_path) if file_system(path) not in ("tmpfs", None))

    with pytest.raises(InvalidSpec, match="no place in memory"):
        MemoryFiles("node", (str(on_disk),)).put(("d", 0), "t", [MemoryFile(target="/x", content=b"1")])


def test_a_directory_that_others_can_enter_is_not_used(memory: MemoryFiles) -> None:
    root = memory.root()
    root.chmod(0o755)
    memory._root = None

    with pytest.raises(InvalidSpec, match="not a directory of the agent alone"):
        memory.root()

    root.chmod(0o700)


def test_what_systemd_made_for_the_service_comes_first() -> None:
    assert places({"RUNTIME_DIRECTORY": "/run/fledx-agent"})[0] == "/run/fledx-agent"
    assert places({}) == ("/run", "/dev/shm")


class Store:
    """A desired state on disk, with what seals it elsewhere."""

    def __init__(self, path: Path, *, unsealed: bool = False, possible: bool = True) -> None:
        self.file = path / "data" / "desired.json"
        self.key = path / "etc" / "agent.key"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        vault = Vault(self.key, unsealed=unsealed, possible=lambda: possible)
        self.desired = DesiredState(self.file, NODE, Clock(), lambda: None, vault)

    def take(self, *replicas: ReplicaDesired, revision: int = 1, registries: tuple[RegistryLogin, ...] = ()) -> None:
        state = NodeDesiredState(node_id=NODE, revision=revision, replicas=replicas, registries=registries)
        assert self.desired.take(json.dumps(encode(state)).encode())
        anyio.run(self.desired.store)

    def values(self) -> list[bytes]:
        state = self.desired.state
        return [each.raw for replica in (state.replicas if state else ()) for each in replica.secrets]


def test_secrets_are_sealed_on_disk_and_there_again_after_a_restart(tmp_path: Path) -> None:
    Store(tmp_path).take(sent(b"hunter2", secret_env=DB))

    again = Store(tmp_path)
    assert again.desired.load() is None
    assert again.values() == [b"hunter2"]
    content = again.file.read_bytes()
    assert b"hunter2" not in content
    assert base64.b64encode(b"hunter2") not in content
    assert again.key.stat().st_mode & 0o777 == 0o600


def test_without_secrets_no_key_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.take(replica())
    assert not store.key.exists()


def test_with_the_key_lost_everything_else_is_still_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Store(tmp_path).take(sent(b"hunter2", secret_env=DB))
    Store(tmp_path).key.unlink()

    again = Store(tmp_path)
    assert again.desired.load() is None

    assert again.desired.state is not None
    assert [each.deployment for each in again.desired.state.replicas] == ["web"]
    assert again.values() == []
    assert "cannot be opened" in caplog.text
    with pytest.raises(NotFound, match="secret db is not here"):
        lookup().variables(again.desired.state.replicas[0])


def test_a_machine_that_cannot_seal_has_no_central_secrets_unless_it_is_told_to(tmp_path: Path) -> None:
    careful = Store(tmp_path, possible=False)
    careful.take(sent(b"hunter2", secret_env=DB))
    assert careful.values() == []
    assert b"hunter2" not in careful.file.read_bytes()

    bold = Store(tmp_path, possible=False, unsealed=True)
    bold.take(sent(b"hunter2", secret_env=DB), revision=2)
    again = Store(tmp_path, possible=False, unsealed=True)
    again.desired.load()
    assert again.values() == [b"hunter2"]


def test_a_node_that_can_keep_no_key_has_no_central_secrets_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "etc").write_text("not a directory")
    store = Store(tmp_path)

    store.take(sent(b"hunter2", secret_env=DB))

    assert store.values() == []
    assert b"hunter2" not in store.file.read_bytes()
    assert "the control plane's secrets are not kept" in caplog.text
    (told,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "cannot be made" in told.__dict__["reason"]


def test_a_control_plane_that_lost_its_key_takes_nothing_from_a_node(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.take(sent(b"hunter2", secret_env=DB))

    store.take(replica(secret_env=DB, secrets_digest="d1"), revision=2)
    assert store.values() == [b"hunter2"]

    store.take(replica(secret_env=DB, secrets_digest="d2"), revision=3)
    assert store.values() == []


def test_logins_of_registries_are_sealed_as_secrets_are(tmp_path: Path) -> None:
    login = RegistryLogin(host="docker.io", username="puller", password="hunter2")
    store = Store(tmp_path)
    store.take(replica(), registries=(login,))
    again = Store(tmp_path)
    again.desired.load()
    careful = Store(tmp_path / "careful", possible=False)
    careful.take(replica(), registries=(login,))

    assert again.desired.state is not None
    assert again.desired.state.registries == (login,)
    assert b"hunter2" not in again.file.read_bytes()
    assert careful.desired.state is not None
    assert careful.desired.state.registries == ()
    assert b"hunter2" not in careful.file.read_bytes()


def test_no_repr_of_a_state_shows_a_secret() -> None:
    assert "hunter2" not in repr(sent(b"hunter2"))
    assert base64.b64encode(b"hunter2").decode() not in repr(sent(b"hunter2"))
    assert "hunter2" not in repr(MemoryFile(target="/x", content=b"hunter2"))


async def test_a_change_whose_files_have_no_place_is_told_and_the_old_container_runs_on() -> None:
    async with running() as stage:
        await stage.want(replica())
        before = stage.runtime.running()
        await stage.want(sent(b"hunter2", revision=2, secret_files=FILE))

        assert stage.runtime.running() == before
        assert "revision 2 does not start: this agent has no place for files" in (stage.instance().message or "")
