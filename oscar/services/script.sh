#!/bin/sh
# For each object, faas-supervisor runs this as `/bin/sh script.sh`. Whatever comes of it, the
# record is written by Python: OSCAR looks at no exit code.
exec "${PI10_PYTHON:-python3}" -m pi10_classifier.oscar
