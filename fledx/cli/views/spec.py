"""What was asked for, in the words of the command line."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from fledx.cli.views.jobs import mode_line
from fledx.cli.views.text import cores, harmless, labels, size, span

Json = Mapping[str, Any]
PULL = "if_not_present"


def lines(item: Json) -> list[tuple[str, str | None]]:
    """Field and text of everything that differs from a plain deployment."""
    return [
        ("image", harmless(item["image"])),
        ("digest", harmless(item.get("image_digest") or "") or None),
        ("pull", harmless(item["pull"].replace("_", " ")) if item.get("pull", PULL) != PULL else None),
        ("entrypoint", harmless(shlex.join(item["entrypoint"])) if item.get("entrypoint") else None),
        ("command", harmless(shlex.join(item["command"])) if item.get("command") else None),
        ("mode", mode_line(item)),
        ("wanted", "stopped" if item.get("desired_state") == "stopped" else None),
        ("ports", ", ".join(port(each) for each in item.get("ports") or ()) or None),
        ("ingress", ", ".join(rule(each) for each in item.get("ingress") or ()) or None),
        ("env", " ".join(f"{harmless(key)}={harmless(text)}" for key, text in (item.get("env") or {}).items()) or None),
        ("configs", harmless(", ".join(item.get("configs") or ())) or None),
        ("secrets", ", ".join([*_secret_env(item), *_secret_files(item)]) or None),
        ("volumes", ", ".join(volume(each) for each in item.get("volumes") or ()) or None),
        *[(kind, probe(each)) for kind, each in (item.get("health") or {}).items() if each],
        ("runs as", harmless(item["user"]) if item.get("user") else None),
        ("confined", _confined(item) or None),
        ("rights", _rights(item) or None),
        ("ulimits", ", ".join(ulimit(each) for each in item.get("ulimits") or ()) or None),
        ("limits", _limits(item.get("limits") or {}) or None),
        ("restart", harmless(item["restart"]) if item.get("restart", "always") != "always" else None),
        ("stop grace", _grace(item.get("stop_grace_seconds"))),
        ("ends by", harmless(item["stop_signal"]) if item.get("stop_signal") else None),
        ("needs", constraints(item) or None),
        ("placement", placement(item) or None),
        ("labels", labels(item["labels"]) if item.get("labels") else None),
        ("update", _update(item.get("update") or {}) or None),
        ("if lost", _reschedule(item.get("reschedule") or {}) or None),
    ]


def port(mapping: Json) -> str:
    """`80 (host port chosen)`, `8080 -> 80/udp, exposed`."""
    inner = str(mapping["container_port"]) + (
        "" if mapping.get("protocol", "tcp") == "tcp" else f"/{mapping['protocol']}"
    )
    address = f"{mapping['host_ip']}:" if mapping.get("host_ip") else ""
    outer = f"{address}{mapping.get('host_port') or 'auto'}"
    return harmless(f"{outer} -> {inner}{' exposed' if mapping.get('expose') else ''}")


def rule(each: Json) -> str:
    """`shop.example.com/api -> 8080 (exact, h2c)`."""
    port = f" -> {each['port']}" if each.get("port") is not None else ""
    words = [word for word in (each.get("path_type"), each.get("protocol")) if word not in (None, "prefix", "http")]
    words += [f"rewrite to {each['rewrite']}"] if each.get("rewrite") is not None else []
    words += [f"timeout {span(each['timeout_seconds'])}"] if each.get("timeout_seconds") else []
    words += [f"body up to {size(each['max_body_bytes'])}"] if each.get("max_body_bytes") else []
    words += ["no redirect to HTTPS"] if each.get("https_redirect") is False else []
    return harmless(f"{each['host']}{each.get('path', '/')}{port}" + (f" ({', '.join(words)})" if words else ""))


def volume(mount: Json) -> str:
    """`HOST:CONTAINER[:ro]`."""
    mode = ":ro" if mount.get("read_only") else ""
    return harmless(f"{mount.get('name') or mount.get('host_path')}:{mount['container_path']}{mode}")


def _confined(item: Json) -> str:
    """What shuts it in."""
    words = ["read-only root"] if item.get("read_only") else []
    words += [tmpfs(each) for each in item.get("tmpfs") or ()]
    words += [f"without {', '.join(item['cap_drop'])}"] if item.get("cap_drop") else []
    words += ["an init"] if item.get("init") else []
    return harmless(", ".join(words))


def _rights(item: Json) -> str:
    """What lets it out."""
    words = ["privileged"] if item.get("privileged") else []
    words += ["the node's network"] if item.get("network_mode") == "host" else []
    words += [f"with {', '.join(item['cap_add'])}"] if item.get("cap_add") else []
    words += [device(each) for each in item.get("devices") or ()]
    return harmless(", ".join(words))


def tmpfs(each: Json) -> str:
    """`tmpfs PATH (64 MiB, mode 1777)`."""
    words = [size(each["size_bytes"])] if each.get("size_bytes") else []
    words += [f"mode {each['mode']}"] if each.get("mode") else []
    return f"tmpfs {each['path']}" + (f" ({', '.join(words)})" if words else "")


def device(each: Json) -> str:
    """`HOST[:CONTAINER][:PERMISSIONS]`."""
    words = [each["host_path"], each.get("container_path"), each.get("permissions")]
    return ":".join(word for word in words if word and word != "rwm")


def ulimit(each: Json) -> str:
    """`nofile=1024:4096`."""
    bounds = [each["soft"], each["hard"]] if each.get("hard") is not None else [each["soft"]]
    return harmless(f"{each['name']}={':'.join('unlimited' if bound == -1 else str(bound) for bound in bounds)}")


def _secret_env(item: Json) -> list[str]:
    return [harmless(f"{each['name']}={each['secret']}") + _optional(each) for each in item.get("secret_env") or ()]


def _secret_files(item: Json) -> list[str]:
    return [harmless(f"{each['path']}={each['secret']}") + _optional(each) for each in item.get("secret_files") or ()]


def _optional(each: Json) -> str:
    return " (optional)" if each.get("optional") else ""


def probe(each: Json) -> str:
    """`http :8080/health every 10s`."""
    target = {
        "http": f"http :{each.get('port')}{each.get('path', '')}",
        "tcp": f"tcp :{each.get('port')}",
        "exec": f"exec {shlex.join(each.get('command') or ())}",
    }.get(each["type"], str(each["type"]))
    words = [f"every {each['interval_seconds']:g}s" if each.get("interval_seconds") else ""]
    words.append(f"within {each['timeout_seconds']:g}s" if each.get("timeout_seconds") else "")
    words.append(f"after {each['start_period_seconds']:g}s" if each.get("start_period_seconds") else "")
    words.append(f"{each['failure_threshold']} failures" if each.get("failure_threshold") else "")
    return harmless(" ".join([target, *filter(None, words)]))


def _limits(limits: Json) -> str:
    words = [f"cpu {cores(limits['cpu_millis'])}" if limits.get("cpu_millis") else ""]
    words.append(f"memory {size(limits['memory_bytes'])}" if limits.get("memory_bytes") else "")
    words.append(f"{limits['pids']} processes" if limits.get("pids") else "")
    words.append(f"log files of {size(limits['log_bytes'])}" if limits.get("log_bytes") else "")
    words.append(f"{limits['log_files']} log files" if limits.get("log_files") else "")
    return ", ".join(filter(None, words))


def _grace(seconds: float | None) -> str | None:
    return None if seconds is None or seconds == 10 else span(seconds)


def constraints(item: Json) -> str:
    """What a node must offer."""
    needs = item.get("constraints") or {}
    capacity = needs.get("capacity") or {}
    words = [f"{field}={needs[field]}" for field in ("arch", "os") if needs.get(field)]
    words += [labels(needs["labels"])] if needs.get("labels") else []
    words += needs.get("rules") or ()
    words += [f"cpu {cores(capacity['cpu_millis'])}"] if capacity.get("cpu_millis") else []
    words += [f"memory {size(capacity['memory_bytes'])}"] if capacity.get("memory_bytes") else []
    words += ["a public address"] if item.get("requires_public_ip") or needs.get("requires_public_ip") else []
    return harmless(", ".join(words))


def placement(item: Json) -> str:
    """Where it would rather run, and beside whom it must or must not."""
    wishes = item.get("placement") or {}
    words = [f"only near {', '.join(wishes['near'])}"] if wishes.get("near") else []
    words += [f"apart from {', '.join(wishes['apart'])}"] if wishes.get("apart") else []
    words += [f"rather near {near}"] if (near := _affinity(wishes.get("affinity"))) else []
    words += [f"rather far from {far}"] if (far := _affinity(wishes.get("anti_affinity"))) else []
    words += ["spread"] if wishes.get("spread") else []
    words += [f"spread over {wishes['spread_over']}"] if wishes.get("spread_over") else []
    words += ["packed"] if wishes.get("strategy") == "pack" else []
    return harmless("; ".join(words))


def _affinity(affinity: Json | None) -> str:
    if not affinity:
        return ""
    words = [", ".join(affinity.get("node_ids") or ())]
    words += [labels(affinity["labels"])] if affinity.get("labels") else []
    words += [f"deployment {', '.join(affinity['deployments'])}"] if affinity.get("deployments") else []
    return ", ".join(filter(None, words))


def _reschedule(policy: Json) -> str:
    after = policy.get("after_seconds")
    words = [] if after is None else [f"elsewhere after {span(after)}" if after else "never elsewhere"]
    words += ["the original goes on when it is back"] if policy.get("on_return") == "keep_original" else []
    words += ["without its volumes"] if policy.get("abandon_volumes") else []
    return ", ".join(words)


def _update(policy: Json) -> str:
    defaults = {
        "max_unavailable": 1,
        "max_surge": 0,
        "min_healthy_seconds": 3,
        "progress_deadline_seconds": 300,
        "watch_seconds": 35,
        "on_failure": "rollback",
    }
    words = [
        f"{field.replace('_', ' ').removesuffix(' seconds')} {policy[field]}"
        for field, default in defaults.items()
        if policy.get(field, default) != default
    ]
    return harmless(", ".join(words))


def asked_for(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What the operator asked for, without what became of it: a body that creates such a deployment again."""
    from fledx.models.deployment import DeploymentSpec

    counted = ("replicas",) if shown.get("mode") == "global" else ()
    fields = ["name", *(field.name for field in dataclasses.fields(DeploymentSpec) if field.name not in counted)]
    return {name: shown[name] for name in fields if shown.get(name) is not None}
