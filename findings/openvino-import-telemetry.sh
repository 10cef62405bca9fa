#!/bin/sh
# OpenVINO (Python): `import openvino` writes an identifier into the home folder and sends an event.
#
# One would guess: importing a runtime touches neither the home folder nor the network. The opt-out
# is described for OpenVINO's conversion tools.
#
# What happens: the package depends on openvino-telemetry. The import makes ~/intel with a random
# identifier, starts a thread, forks the process, and posts to www.google-analytics.com. At sea this
# costs a satellite link a DNS query for each start, and the fork copies a process that may already
# have threads. No variable turns it off but CI=true (it passes for a build server).
#
# Remedy: let the import of openvino_telemetry fail, as if it were not installed; OpenVINO then uses
# its stub. pi10 sets sys.modules["openvino_telemetry"] = None while it imports OpenVINO.
#
# Needs Linux, Python 3.10 to 3.13 and a package index. Sends nothing: the name lookup is replaced.
# Exits 1 where the behaviour has changed.
set -eu
version=${1:-2026.4.1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "openvino==$version"
cd "$folder"
mkdir home quiet
unset CI TF_BUILD JENKINS_URL || true
cat > show.py <<'PY'
import socket
import sys
import time
from pathlib import Path


def refuse(host, *rest, **options):
    Path("asked.txt").write_text(str(host))
    raise OSError("no network")


socket.getaddrinfo = refuse  # a forked process has it too
if sys.argv[1] == "quiet":
    sys.modules["openvino_telemetry"] = None
import openvino

time.sleep(2)
asked = Path("asked.txt")
home = sorted(str(path.relative_to(Path.home())) for path in Path.home().rglob("*"))
print("openvino", openvino.__version__)
print("  in the home folder:", ", ".join(home) or "nothing")
print("  name looked up:", asked.read_text() if asked.exists() else "none")
sys.exit(0 if bool(home) == asked.exists() == (sys.argv[1] == "plain") else 1)
PY
HOME=$folder/home "$folder/venv/bin/python" show.py plain && plain=0 || plain=1
rm -f asked.txt
echo "without openvino_telemetry:"
HOME=$folder/quiet "$folder/venv/bin/python" show.py quiet && quiet=0 || quiet=1
if [ $plain = 0 ] && [ $quiet = 0 ]; then
    echo "as described"
else
    echo "the behaviour has changed"
    exit 1
fi
