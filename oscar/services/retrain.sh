#!/bin/sh
# For each delivery of labels, faas-supervisor runs `/bin/sh retrain.sh`. Answers, rounds and
# reports go to the output folder through S3; TMP_OUTPUT_DIR stays empty, the exit code is ignored.
exec "${PI10_PYTHON:-python3}" -m pi10_classifier oscar retrain --event
