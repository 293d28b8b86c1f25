"""How the families of Linux distributions install what fledx stands on."""

from __future__ import annotations

from collections.abc import Sequence

INSTALL = {
    "debian": "sudo apt-get install",
    "rhel": "sudo dnf install",
    "fedora": "sudo dnf install",
    "suse": "sudo zypper install",
    "arch": "sudo pacman -S",
}

APT = "apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
"""Waits for updates that run by themselves, as they do on a machine that has just booted, and for its mirror."""

ENGINES = {
    "debian": (
        f"export DEBIAN_FRONTEND=noninteractive\n{APT} update\n{APT} -y install --no-install-recommends docker.io\n"
    ),
    "fedora": "dnf -q -y install moby-engine\n",
    "suse": "zypper -q -n install docker\n",
    "arch": "pacman -S --quiet --noconfirm --needed docker\n",
}


def install_command(families: Sequence[str], package: str) -> str:
    """What an operator types there to install a package."""
    return f"{next((INSTALL[family] for family in families if family in INSTALL), 'install')} {package}"


def engine_script(families: Sequence[str]) -> str | None:
    """Installs the distribution's own Docker; None where it has none (RHEL and its kin ship Podman instead)."""
    if "rhel" in families:
        return None
    return next((ENGINES[family] for family in families if family in ENGINES), None)
