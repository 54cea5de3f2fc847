"""Ask a model through tritonclient, as its users do, and print what it read.

    ask.py HOST:PORT MODEL json|binary RUNG

RUNG goes out as the header x-rung. Prints one JSON object: the outputs as
tritonclient's NumPy arrays, null for NaN.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton


def main():
    address, model, form, rung = sys.argv[1:]
    binary = form == "binary"
    features = triton.InferInput("features", [1, 4], "FP32")
    features.set_data_from_numpy(np.array([[0.5, 0.1, 1, 0]], dtype=np.float32), binary_data=binary)
    with triton.InferenceServerClient(address, network_timeout=30, connection_timeout=30) as client:
        result = client.infer(
            model,
            [features],
            outputs=[triton.InferRequestedOutput("score", binary_data=binary)],
            request_id="r1",
            headers={"x-rung": rung},
        )
    score = result.as_numpy("score")
    values = [None if np.isnan(v) else float(v) for v in np.ravel(score)]
    print(json.dumps({"score": values, "dtype": str(score.dtype), "shape": list(score.shape)}))


main()
