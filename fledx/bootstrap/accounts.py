"""The steps about users and groups."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.bootstrap.layout import Role, user_name
from fledx.bootstrap.steps import Step


@dataclass(frozen=True, kw_only=True)
class MakeUser(Step):
    """A system user of the role, without shell and home, with a group of its own name; made, or put right."""

    role: Role
    home: str
    known: bool = False

    @property
    def line(self) -> str:
        return f"{'take the shell from' if self.known else 'make the system user'} {user_name(self.role)}"

    def script(self) -> str:
        name = user_name(self.role)
        return (
            "nologin=$(command -v nologin || echo /bin/false)\n"
            f"getent group {name} >/dev/null || groupadd --system {name}\n"
            f"if id {name} >/dev/null 2>&1; then usermod --shell $nologin {name}\n"
            f"else useradd --system --gid {name} --home-dir {self.home} --no-create-home --shell $nologin {name}; fi\n"
        )

    def undo(self) -> tuple[Step, ...]:
        return () if self.known else (RemoveUser(role=self.role, unless=self.home, reason="it was made by this run"),)


@dataclass(frozen=True, kw_only=True)
class RemoveUser(Step):
    """Remove the role's user and group, but not while `unless` exists: its files would become another user's."""

    role: Role
    unless: str

    @property
    def line(self) -> str:
        return f"remove the system user {user_name(self.role)}"

    def script(self) -> str:
        name = user_name(self.role)
        return (
            f"[ ! -e {self.unless} ] || exit 0\n"
            f"if id {name} >/dev/null 2>&1; then userdel {name}; fi\n"
            f"if getent group {name} >/dev/null; then groupdel {name}; fi\n"
        )


@dataclass(frozen=True, kw_only=True)
class JoinGroup(Step):
    """Let the role's user use what belongs to a group: Docker's socket."""

    role: Role
    group: str

    @property
    def line(self) -> str:
        return f"put {user_name(self.role)} into the group {self.group}"

    def script(self) -> str:
        return f"usermod --append --groups {self.group} {user_name(self.role)}\n"
