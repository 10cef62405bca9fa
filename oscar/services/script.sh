#!/bin/sh
# For each object, faas-supervisor runs `/bin/sh script.sh`. Python writes a record for success and
# for failure, because OSCAR ignores the exit code.
exec "${PI10_PYTHON:-python3}" -m pi10_classifier.oscar
