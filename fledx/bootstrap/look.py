"""The one script that looks at a host; it changes nothing. Its lines are read by `facts.py`."""

from __future__ import annotations

from dataclasses import dataclass

from fledx.bootstrap.layout import LIMITS_FILE

# Modules of the standard library that small Pythons leave out and that a role needs.
NEEDED_MODULES = (
    "_ssl",
    "_sqlite3",
    "_socket",
    "_hashlib",
    "zlib",
    "asyncio",
    "email",
    "http",
    "json",
    "logging",
    "ssl",
)

SCRIPT = r"""
say() { echo "$*"; }
octal() { stat -c '%U:%G %a' "$1"; }
contents() { base64 <"$1" | tr -d '\n'; }
near() { p=$1; while [ ! -e "$p" ]; do p=${p%/*}; p=${p:-/}; done; echo "$p"; }
units=/etc/systemd/system
placed() { sed -n "s/^$1=//p" $units/fledx-cp.service $units/fledx-agent.service 2>/dev/null | head -n 1; }

say now "$(date +%s)"
say system "$(uname -s)"
say machine "$(uname -m)"
say hostname "$(cat /proc/sys/kernel/hostname 2>/dev/null || uname -n)"
if [ -r /etc/os-release ]; then
  (. /etc/os-release; say distribution "${PRETTY_NAME:-$NAME}"; say family "${ID:-} ${ID_LIKE:-}")
fi

bin=${BIN:-$(placed BinDir)}; bin=${bin:-/usr/local/bin}
config=${CONFIG:-$(placed ConfigDir)}; config=${config:-/etc/fledx}
data=${DATA:-$(placed DataDir)}; data=${data:-/var/lib/fledx}
say layout "$bin" "$config" "$data"
say placed "$(placed BinDir)" "$(placed ConfigDir)" "$(placed DataDir)"

best=
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
  path=$(command -v $name) || continue
  found=$("$path" -IS -c '
import importlib.util, os, struct, sys
def absent(name):
    try:
        return importlib.util.find_spec(name) is None
    except ImportError:
        return True
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or "other"
except (OSError, ValueError):
    libc = "other"
print("%d.%d.%d" % sys.version_info[:3], struct.calcsize("P") * 8, libc.replace(" ", "-"),
      ",".join(name for name in "MODULES".split() if absent(name)) or "-")
' 2>/dev/null) || continue
  say python "$path" $found
  case $found in 3.[0-9].*|[0-2].*) ;; *) best=${best:-$path};; esac
done

if [ -d /run/systemd/system ]; then
  say systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
fi

for path in "$bin" "$config" "$data" $units; do
  at=$(near "$path")
  if [ -w "$at" ]; then writable=yes; else writable=no; fi
  say space "$path" "$(df -Pk "$at" | awk 'NR == 2 {print $4}')" $writable
done

for path in "$bin" "$config" "$data" "$data/volumes" "$data/cp" "$data/agent" "$config/cp" "$config/agent" \
  $units/fledx-cp.service.d $units/fledx-agent.service.d \
  /var/cache/fledx-cp /var/cache/fledx-agent /var/cache/fledx /run/fledx-cp /run/fledx-agent; do
  if [ -d "$path" ]; then
    if [ "$(ls -A "$path")" ]; then held=full; else held=empty; fi
    say dir "$path" $(octal "$path") $held
  fi
done
for path in "$bin"/fledx-*.pyz; do
  if [ -f "$path" ]; then say archive "$path" "$(sha256sum "$path" | cut -d ' ' -f 1)" $(octal "$path"); fi
done
for path in "$bin/fledx" "$bin/fledx-cp" "$bin/fledx-agent" "$bin/fledx-previous"; do
  if [ -L "$path" ]; then say link "$path" "$(readlink "$path")"; elif [ -e "$path" ]; then say link "$path" -; fi
done

for role in cp agent; do
  user=fledx-$role
  if id "$user" >/dev/null 2>&1; then
    say user $user "$(getent passwd $user | cut -d : -f 7)" "$(id -nG $user | tr ' ' ,)"
  fi
  for path in "$config/$user.env" $units/$user.service; do
    if [ -f "$path" ]; then say file "$path" $(octal "$path") "$(contents "$path")"; fi
  done
  if [ -d /run/systemd/system ]; then
    systemctl show $user.service -p LoadState -p ActiveState -p SubState -p UnitFileState -p NeedDaemonReload \
      -p MainPID -p ActiveEnterTimestamp | sed "s/^/unit $user.service /"
    pid=$(systemctl show $user.service -p MainPID --value)
    if [ "${pid:-0}" != 0 ] && [ -r /proc/$pid/environ ]; then
      say unit $user.service "Setup=$(tr '\0' '\n' </proc/$pid/environ | sed -n 's/^FLEDX_SETUP=//p')"
    fi
  fi
done
for path in LIMITS; do
  if [ -f "$path" ]; then say file "$path" $(octal "$path") "$(contents "$path")"; fi
done
limit=/proc/sys/fs/inotify/max_user_instances
if [ -r $limit ]; then
  if [ -w $limit ]; then settable=yes; else settable=no; fi
  say inotify "$(cat $limit)" $settable
fi
if [ -s "$data/cp/ca.pem" ]; then say authority yes; fi
if [ -e "$config/fledx-agent.join" ]; then say join yes; fi
if [ -s "$data/agent/identity.json" ]; then
  if [ "$best" ]; then
    "$best" -IS -c '
import hashlib, json, ssl, sys
try:
    kept = json.load(open(sys.argv[1]))
    end = "-----END CERTIFICATE-----"
    pems = [text.strip() + end for text in (kept.get("authority") or "").split(end)[:-1]]
    digests = [hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() for pem in pems]
    print("identity", kept["node_id"], kept["host"], kept["port"], ",".join(digests) or "-")
except Exception:
    print("identity - - 0 -")
' "$data/agent/identity.json"
  else say identity - - 0 -; fi
fi

cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {print "port", $2}'
ss -Hltnp 2>/dev/null | awk '{print "listener", $4, $NF}' || :

for unit in docker.service docker.socket; do
  if [ -d /run/systemd/system ]; then
    say engine $unit "$(systemctl show $unit -p LoadState --value)" "$(systemctl show $unit -p ActiveState --value)"
  fi
done
if [ -S /var/run/docker.sock ]; then
  say socket "$(stat -Lc %G /var/run/docker.sock)"
  if [ "$best" ]; then
    "$best" -IS -c '
import json, socket
try:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect("/var/run/docker.sock")
    s.sendall(b"GET /version HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: s.recv(65536), b""))
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    print("docker", told["ApiVersion"], told["Version"])
except Exception as problem:
    print("docker - %s" % (str(problem) or type(problem).__name__))
'
  fi
fi
say end
"""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The order to look; directories that are None are those of an earlier installation, else the usual ones."""

    bin_dir: str | None = None
    config_dir: str | None = None
    data_dir: str | None = None
    limit: float = 60.0

    def script(self) -> str:
        # `Places` has refused all that a shell would read as more than a path.
        given = f"BIN='{self.bin_dir or ''}' CONFIG='{self.config_dir or ''}' DATA='{self.data_dir or ''}'"
        return given + SCRIPT.replace("MODULES", " ".join(NEEDED_MODULES)).replace("LIMITS", LIMITS_FILE)

    def feed(self) -> bytes:
        return b""
