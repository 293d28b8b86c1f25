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

ENGINES = {
    "debian": (
        "export DEBIAN_FRONTEND=noninteractive\napt-get -qq update\n"
        "apt-get -qq -y install --no-install-recommends docker.io\n"
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
