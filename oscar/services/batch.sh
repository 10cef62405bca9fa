#!/bin/sh
# For each range of a batch, faas-supervisor runs `/bin/sh batch.sh`, with the message in the file
# INPUT_FILE_PATH. Results and heartbeats go to the mount; the exit code is ignored.
exec "${PI10_PYTHON:-python3}" -m pi10_classifier.oscar range
