#!/bin/sh
# Builds the image `serve`, runs it like an operator, and requests every type of answer.
# Prints size and start time; exits with a status other than 0 at the first error.
#   docker/check.sh              builds and checks
#   IMAGE=name docker/check.sh   checks an existing image
# BUILD_ARGS are passed to `docker build`; PORT (5000) must be free.
set -eu
cd "$(dirname "$0")/.."
port=${PORT:-5000}
most=600000000 # bytes
now() { date +%s%N; }
since() { echo "$((($(now) - $1) / 1000000))"; }
die() {
    echo "check.sh: $*" >&2
    exit 1
}

if [ -z "${IMAGE:-}" ]; then
    IMAGE=pi10-classifier:serve
    # shellcheck disable=SC2086  # several options
    docker build --network host ${BUILD_ARGS:-} --file docker/Dockerfile --target serve \
        --tag "$IMAGE" .
fi
size=$(docker image inspect --format '{{.Size}}' "$IMAGE")
echo "size: $((size / 1000000)) MB"
[ "$size" -lt "$most" ] || die "the image has $size bytes; at most $most are allowed"
user=$(docker image inspect --format '{{.Config.User}}' "$IMAGE")
case $user in '' | 0 | 0:* | root*) die "the image runs as user '$user'" ;; esac

scratch=$(mktemp -d)
container=
end() {
    [ -z "$container" ] || docker rm --force "$container" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap end EXIT INT TERM

start() { # start NETWORK: runs the image, waits for its first answer from inside
    began=$(now)
    container=$(docker run --detach --read-only --user 1000 --network "$1" --tmpfs /tmp \
        --cap-drop ALL --security-opt no-new-privileges "$IMAGE" \
        deepaas-run --listen-ip 0.0.0.0 --listen-port "$port")
    tries=0
    until docker exec --env PI10_PORT="$port" "$container" python /opt/pi10/health.py 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries -gt 200 ] || [ -z "$(docker ps --quiet --no-trunc --filter id="$container")" ]; then
            docker logs "$container" >&2
            die "the service did not come up"
        fi
        sleep 0.1
    done
}

stop() {
    began=$(now)
    docker stop --time 30 "$container" >/dev/null
    took=$(since "$began")
    status=$(docker inspect --format '{{.State.ExitCode}}' "$container")
    echo "stopped by SIGTERM after $took ms, status $status"
    [ "$took" -lt 10000 ] || die "it took $took ms to stop"
    [ "$status" != 137 ] || die "it had to be killed"
    docker rm "$container" >/dev/null
    container=
}

echo "--- without network ---"
start none
echo "first answer $(since "$began") ms after docker run"
for module in torch mlflow transformers pip; do
    docker exec "$container" python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$module') is not None)" ||
        die "$module is in the image"
done
docker exec "$container" python3 -c "import sys; print('python', sys.version.split()[0], sys.prefix)"
docker exec "$container" sh -c '! touch /opt/x 2>/dev/null' || die "the file system can be written"
docker exec "$container" test -s /opt/pi10/parts.json || die "the list of parts is missing"
docker exec --interactive "$container" python - "http://127.0.0.1:$port" <docker/exercise.py
docker exec "$container" sh -c 'pi10 simulate /tmp/one --bins 1 --images 1 --folders >/dev/null &&
    cat "$(find /tmp/one -name "*N0*.tif")"' >"$scratch/one.tif"
stop

echo "--- by curl, over the host's network ---"
start host
curl --silent --show-error --fail --form "data=@$scratch/one.tif" \
    "http://127.0.0.1:$port/v2/models/pi10_classifier/predict/" >"$scratch/answer.json"
python3 -c '
import json, sys
found = json.load(open(sys.argv[1]))
best = found["predictions"][0]
print("prediction:", best["label"], best["score"], "status", found["status"])
sys.exit(found["status"] != "ok")' "$scratch/answer.json" || die "curl got $(head -c 400 "$scratch/answer.json")"
docker exec "$container" sh -c 'grep -h VmHWM /proc/[0-9]*/status' | sort -k2n | tail -1 |
    awk '{print "largest process at most " int($2 / 1000) " MB"}'
stop
echo "all is well"
