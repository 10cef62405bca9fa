#!/bin/sh
# The exposed service: OSCAR runs this instead of the image's own command.
exec deepaas-run --listen-ip 0.0.0.0 --listen-port 5000 \
    --base-path "${OSCAR_SERVICE_BASE_PATH:-}" --model-name pi10_classifier
