# SPDX-License-Identifier: Apache-2.0
"""A whole computation from exported vectors to results, without fp8ref: the residual addition in bfloat16.

    fp8ref vectors export vectors residual
    python residual.py vectors results
    fp8ref check --results results --manifest vectors/manifest.json

The files are described in spec/exchange.md.
"""

import json
import platform
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file


def main() -> None:
    vectors, results = Path(sys.argv[1]), Path(sys.argv[2])
    manifest = json.loads((vectors / "manifest.json").read_text(encoding="utf-8"))
    inputs = load_file(vectors / "inputs" / "residual.safetensors")
    outputs = {}
    unsupported = {}
    for case in manifest["cases"]:
        if case["function"] != "residual":
            unsupported[f"{case['op']}/{case['case']}"] = "only residual is here"
            continue
        x, y = (inputs[case["inputs"][name]["tensor"]].astype(np.float32) for name in ("x", "y"))
        # Rounding the sum to float32 first changes no bit of a sum of two bfloat16 numbers. [RESIDUAL-SUM]
        with np.errstate(all="ignore"):
            outputs[case["outputs"]["out"]["tensor"]] = (x + y).astype(ml_dtypes.bfloat16)
    results.mkdir()
    save_file(outputs, results / "residual.safetensors")
    notes = {"facts": {"device": platform.machine(), "numpy": np.__version__}, "unsupported": unsupported}
    (results / "results.json").write_text(json.dumps(notes), encoding="utf-8")


if __name__ == "__main__":
    main()
