"""The image's health check: exits with 0 if the service in this container answers."""

import os
import sys
from urllib.request import urlopen

port = os.environ.get("PI10_PORT", "5000")
# DEEPaaS serves nothing outside its base path
base = os.environ.get("OS_DEFAULT__BASE_PATH", "").strip("/")
path = f"/{base}/v2/models/" if base else "/v2/models/"
try:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=4) as answer:
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(f"no answer from port {port}{path}: {error}")
