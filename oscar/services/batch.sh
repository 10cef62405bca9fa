#!/bin/sh
# For each range of a batch, faas-supervisor runs this as `/bin/sh batch.sh`; the message lies in
# INPUT_FILE_PATH. Results go to the mount, signs of life beside them; nobody looks at exit codes.
exec "${PI10_PYTHON:-python3}" -m pi10_classifier.oscar range
