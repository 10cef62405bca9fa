"""pi10-classifier turns Plankton Imager Pi-10 images into publishable abundances."""

import os

__version__ = "0.2.0"

# before ONNX Runtime is imported: it would record the machine, and send that to Microsoft; see
# findings/onnxruntime-import-telemetry.sh
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
