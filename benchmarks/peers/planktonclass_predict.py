"""planktonclass as its API and its notebooks predict files: ten random crops of each image.

The network is the one of its published packages, as its ``create_model`` builds it, but with random
weights.
"""

import sys
from importlib.metadata import version

from planktonclass import config, test_utils
from tensorflow.keras import Model, applications, layers
from timing import files_of, report

NETWORK, CLASSES = "EfficientNetV2B0", 3


def main() -> None:
    folder, _ = sys.argv[1:]  # TensorFlow takes all cores by itself
    settings = config.get_conf_dict()
    settings["model"] |= {"modelname": NETWORK, "num_classes": CLASSES, "preprocess_mode": "tf"}
    settings["dataset"] |= {"mean_RGB": [127.5] * 3, "std_RGB": [127.5] * 3}  # known by training
    side = settings["model"]["image_size"]
    base = getattr(applications, NETWORK)(
        weights=None, include_top=False, input_shape=(side, side, 3)
    )
    pooled = layers.GlobalAveragePooling2D()(base.output)
    hidden = layers.Dense(1024, activation="relu")(pooled)
    network = Model(base.input, layers.Dense(CLASSES, activation="softmax")(hidden))

    def classify(files: list[str]) -> None:
        test_utils.predict(network, files, settings, top_K=CLASSES, filemode="local")

    about = f"{NETWORK}, {side} px, 10 crops, planktonclass {version('planktonclass')}"
    report(classify, files_of(folder), about)


main()
