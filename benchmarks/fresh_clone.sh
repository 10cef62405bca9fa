#!/bin/sh
# From nothing to records in a bucket, as a newcomer does it: sh benchmarks/fresh_clone.sh [FOLDER]
# Clones this repository's HEAD into FOLDER (a new temporary one), installs it into a new
# environment, brings `pi10 oscar local` up, drops five objects and shows what came of them.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
home=${1:-$(mktemp -d)}
git clone --quiet "$here" "$home/clone"
cd "$home/clone"
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt ".[oscar]"
PATH=$home/venv/bin:$PATH
pi10 simulate "$home/cruise" --bins 1 --images 200 >/dev/null
cd "$home"
pi10 oscar local up --home "$home/local" --port 0 --s3-port 0 >"$home/up.log" 2>&1 &
up=$!
# SIGTERM: what a shell runs in the background ignores SIGINT
trap 'kill -TERM $up 2>/dev/null; wait $up 2>/dev/null || :' EXIT
until grep -q '^ready' "$home/up.log"; do kill -0 $up || { cat "$home/up.log"; exit 1; }; sleep 0.2; done
. "$home/local/environment"
GENUINE=${GENUINE:-$(ls "$here"/../shared/data/pi10-examples/*.tif 2>/dev/null | head -n 1)} \
    CRUISE=$home/cruise python - <<'PY'
import json, os, time
from pathlib import Path
from minio import Minio

s3 = Minio(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), os.environ["AWS_ACCESS_KEY_ID"],
           os.environ["AWS_SECRET_ACCESS_KEY"], secure=False)
tar = next(Path(os.environ["CRUISE"]).rglob("*.tar"))
genuine = Path(os.environ["GENUINE"]) if os.environ["GENUINE"] else None
image = (genuine or next(Path(os.environ["CRUISE"]).rglob("*.t*"))).read_bytes()
broken = Path("broken.tif")
broken.write_bytes(image[: len(image) // 3])
sent = {"in/cruise 1/é/a+b c é.tif": genuine or tar, "in/2024-06-24/1450.tar": tar,
        "in/broken.tif": broken}
if genuine:
    sent[f"in/genuine/{genuine.name}"] = genuine
for key, path in sent.items():
    s3.fput_object("pi10", key, str(path))
until, found = time.monotonic() + 300, {}
while len(found) < len(sent) and time.monotonic() < until:
    for entry in s3.list_objects("pi10", prefix="out/in/", recursive=True):
        if entry.object_name.endswith("json"):
            said = json.loads(s3.get_object("pi10", entry.object_name).read())
            found[said["key"]] = said
    time.sleep(0.5)
for key, said in sorted(found.items()):
    print(said["status"], key, said.get("totals") or said.get("prediction", {}).get("label")
          or said["failure"]["code"])
assert set(found) == set(sent), set(sent) - set(found)
PY
pi10 oscar reconcile --grace 0 --dry-run --scheduled  # broken.tif has its failure
