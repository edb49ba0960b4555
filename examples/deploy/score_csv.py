"""Scores a CSV by an exported model: needs NumPy and ONNX Runtime, and neither diabolo nor JAX.

diabolo export run --onnx exported
python examples/deploy/score_csv.py exported/score.onnx new.csv > scores.csv
"""

import csv
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
features = json.loads(about["features"])
with open(sys.argv[2], encoding="utf-8", newline="") as file:  # noqa: PTH123
    rows = list(csv.DictReader(file))
types = {node.name: {"tensor(float)": "f4", "tensor(double)": "f8"}.get(node.type) for node in session.get_inputs()}
if about["inputs"] == "rows":
    given = {"X": np.array([[float(row[name] or "nan") for name in features] for row in rows], types["X"])}
else:  # one input for each column
    given = {
        name: np.array([[float(row[name] or "nan") if types[name] else row[name]] for row in rows], types[name])
        for name in features
    }
names = [node.name for node in session.get_outputs()]
print(",".join(names))
for values in zip(*session.run(names, given), strict=True):
    print(",".join(str(value) for value in values))
