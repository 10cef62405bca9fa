#!/bin/sh
# ONNX Runtime: on Linux, `import onnxruntime` records the machine and sends it to Microsoft.
#
# One would guess: the packages on PyPI collect nothing outside Windows, as in earlier releases, and
# onnxruntime.disable_telemetry_events() turns off what there is.
#
# What happens (1.31.1): the import writes ~/.cache/Microsoft/DeveloperTools/.onnxruntime: `deviceid`
# and `onnxruntime.db`, a SQLite table of events with the CPU's model, memory, system, container and
# time zone. Seconds later a thread looks up mobile.events.data.microsoft.com. Where that cannot be
# reached the table grows with each process. disable_telemetry_events() comes too late, as the
# first event is written by the import. Nothing is printed.
#
# Remedy: ORT_DISABLE_TELEMETRY=1 in the environment before the import. pi10 sets it, unless it is set.
#
# Needs Linux, Python 3.11 to 3.13 and a package index. Ends before anything is sent. Exits 1 where
# the behaviour has changed.
set -eu
version=${1:-1.31.1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "onnxruntime==$version"
cd "$folder"
unset ORT_DISABLE_TELEMETRY || true
events() {
    mkdir -p "$1"
    HOME=$folder/$1 XDG_CACHE_HOME= "$folder/venv/bin/python" -c "import onnxruntime; $2"
    HOME=$folder/$1 "$folder/venv/bin/python" -c "
import sqlite3
from pathlib import Path
stores = list(Path.home().rglob('onnxruntime.db'))
print(sum(sqlite3.connect(s).execute('select count(*) from events').fetchone()[0] for s in stores))"
}
plain=$(events plain "pass")
late=$(events late "onnxruntime.disable_telemetry_events()")
off=$(ORT_DISABLE_TELEMETRY=1 events off "pass")
echo "onnxruntime $version: events recorded by the import: $plain;"
echo "  with disable_telemetry_events() after it: $late; with ORT_DISABLE_TELEMETRY=1: $off"
if [ "$plain" -gt 0 ] && [ "$late" -gt 0 ] && [ "$off" = 0 ]; then
    echo "as described"
else
    echo "the behaviour has changed"
    exit 1
fi
