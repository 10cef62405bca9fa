#!/bin/sh
# netCDF4: the same data give the same bytes on disk, but not in memory.
#
# One would guess: Dataset(name, "w", memory=...) returns from close() the bytes that
# Dataset(path, "w") would have left in the file.
#
# What happens: with format NETCDF4 or NETCDF4_CLASSIC, the image made in memory holds the second at
# which it was made (in the object header of the root group, with its checksum), and is padded to
# 64 KiB. Two images of the same data, made in different seconds, differ; two files on disk do not.
# NETCDF3 is the same both ways.
#
# Why it matters: whoever makes the file in memory (for an upload, or to write it atomically) and
# compares or publishes its SHA-256 gets another one at each run, though not one value changed.
# Up to 1.7.4 (HDF5 1.14) both are alike; 1.7.5 brings HDF5 2.2. `pi10 export netcdf` promises the
# same bytes for the same run, so it writes to the disk.
#
# Needs Python 3.10 or newer and a package index. Exits 1 where the behaviour has changed.
set -eu
version=${1:-1.7.5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "netCDF4==$version"
cd "$folder"
cat > show.py <<'PY'
import hashlib
import sys
import time

import netCDF4


def made(memory: bool, form: str) -> bytes:
    more = {"memory": 1024} if memory else {}
    dataset = netCDF4.Dataset("same.nc", "w", format=form, **more)
    dataset.createDimension("minute", 3)
    dataset.createVariable("density", "f8", ("minute",))[:] = [1.0, 2.0, 3.0]
    contents = dataset.close()
    if memory:
        return bytes(contents)
    with open("same.nc", "rb") as stream:
        return stream.read()


print("netCDF4", netCDF4.__version__, "HDF5", netCDF4.__hdf5libversion__,
      "netcdf-c", netCDF4.__netcdf4libversion__)
found = {}
for form in ("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC"):
    for memory in (True, False):
        first = made(memory, form)
        time.sleep(1.1)
        second = made(memory, form)
        found[form, memory] = first == second
        print(f"{form:16} {'in memory' if memory else 'on disk':9} {len(first):6,} bytes ",
              hashlib.sha256(first).hexdigest()[:12], hashlib.sha256(second).hexdigest()[:12],
              "the same" if first == second else "differ")
expected = {(form, memory): not (memory and form != "NETCDF3_CLASSIC") for form, memory in found}
sys.exit(found != expected)
PY
if "$folder/venv/bin/python" show.py; then
    echo "as described: only the images made in memory differ"
else
    echo "the behaviour has changed"
    exit 1
fi
