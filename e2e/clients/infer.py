"""Ask an Open Inference model over gRPC through tritonclient, as its users do.

    infer.py HOST:PORT

Reads one call a line from standard input, JSON:

    {"op": "infer", "model": "…", "id": "…", "rows": [[…]], "timeout": seconds,
     "headers": {…}, "outputs": ["score"], "messages": 1}

op is infer (ModelInfer), stream (ModelStreamInfer, as many messages as said) or
about (live, ready, metadata). Prints one line a call: for each answer the
outputs as tritonclient's NumPy arrays, NaN and infinities as text, and what it
raised.
"""

import json
import math
import queue
import sys

import numpy as np
import tritonclient.grpc as triton


def values(array):
    out = []
    for v in np.ravel(array):
        if isinstance(v, bytes):
            out.append(v.decode("utf-8", "replace"))
        elif isinstance(v, (np.bool_, np.integer)):
            out.append(v.item())
        elif isinstance(v, str):
            out.append(v)
        else:
            number = float(v)
            out.append(number if math.isfinite(number) else repr(number))
    return out


def raised(e):
    status = e.status() if hasattr(e, "status") else None
    message = e.message() if hasattr(e, "message") else str(e)
    return {"type": f"{type(e).__module__.split('.')[0]}.{type(e).__name__}", "status": status, "message": message}


def read(result, wanted):
    """One answer. An output that the library gives without a complaint is read,
    one that it cannot make an array of has what it raised instead."""
    response = result.get_response()
    out = {"id": response.id, "model": response.model_name, "version": response.model_version, "outputs": {}}
    for name in wanted or [o.name for o in response.outputs]:
        try:
            array = result.as_numpy(name)
            if array is None:
                out["outputs"][name] = None
                continue
            out["outputs"][name] = {"dtype": str(array.dtype), "shape": list(array.shape), "values": values(array)}
        except Exception as e:
            out["outputs"][name] = {"raised": raised(e)}
    return out


def inputs(call):
    rows = np.array(call.get("rows") or [[1200, 3, 0, 0]], dtype=np.float32)
    features = triton.InferInput("features", list(rows.shape), "FP32")
    features.set_data_from_numpy(rows)
    return [features]


def infer(client, call, out):
    result = client.infer(
        call["model"],
        inputs(call),
        request_id=call.get("id") or "",
        headers=call.get("headers"),
        client_timeout=call.get("timeout") or 30,
    )
    out["answers"].append(read(result, call.get("outputs")))


def stream(client, call, out):
    came = queue.Queue()
    count = call.get("messages") or 1
    client.start_stream(lambda result, error: came.put((result, error)), headers=call.get("headers"), stream_timeout=call.get("timeout") or 30)
    try:
        for _ in range(count):
            client.async_stream_infer(call["model"], inputs(call), request_id=call.get("id") or "")
            result, error = came.get(timeout=(call.get("timeout") or 30) + 5)
            if error is not None:
                raise error
            out["answers"].append(read(result, call.get("outputs")))
    finally:
        client.stop_stream(cancel_requests=True)


def about(client, call, out):
    out["about"] = {
        "live": client.is_server_live(headers=call.get("headers")),
        "ready": client.is_model_ready(call["model"], headers=call.get("headers")),
        "metadata": [o.name for o in client.get_model_metadata(call["model"], headers=call.get("headers")).outputs],
    }


def main():
    ops = {"infer": infer, "stream": stream, "about": about}
    for line in sys.stdin:
        call = json.loads(line)
        out = {"answers": [], "raised": None}
        # A client a call: no channel that is still backing off after an earlier fault.
        client = triton.InferenceServerClient(call.get("address") or sys.argv[1])
        try:
            ops[call.get("op") or "infer"](client, call, out)
        except Exception as e:  # whatever it is, the caller of the library would have met it
            out["raised"] = raised(e)
        finally:
            client.close()
        print(json.dumps(out, allow_nan=False), flush=True)


main()
