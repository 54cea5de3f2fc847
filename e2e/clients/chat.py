"""Ask a chat model through the openai library, as its users do.

    chat.py BASE_URL

Reads one call a line from standard input, JSON:

    {"stream": false, "legacy": false, "timeout": seconds, "headers": {…},
     "base_url": "…", "body": {…}}

body holds the arguments of chat.completions.create, or with legacy those of
completions.create. base_url replaces the argument's for this call. Prints one
line a call: what the library made of the answer, the partial answer of a stream
included, and what it raised. It never retries.
"""

import json
import sys
import time

import openai


def number(value):
    """A float as text: NaN and infinities have no JSON."""
    return None if value is None else repr(value)


class Told:
    """What came of one choice."""

    def __init__(self, index):
        self.index = index
        self.text = ""
        self.null = True  # content never came, or was null
        self.refusal = ""
        self.arguments = ""
        self.finish = None
        self.logprobs = []

    def add(self, choice):
        said = getattr(choice, "message", None) or getattr(choice, "delta", None)
        text = getattr(choice, "text", None) if said is None else said.content
        if text is not None:
            self.null = False
            self.text += text
        if said is not None:
            self.refusal += getattr(said, "refusal", None) or ""
            for call in getattr(said, "tool_calls", None) or []:
                self.arguments += call.function.arguments or ""
        self.finish = choice.finish_reason or self.finish
        probs = getattr(choice, "logprobs", None)
        for token in getattr(probs, "content", None) or []:
            self.logprobs.append(number(token.logprob))
        for value in getattr(probs, "token_logprobs", None) or []:
            self.logprobs.append(number(value))

    def result(self):
        return {
            "index": self.index,
            "text": self.text,
            "null": self.null,
            "refusal": self.refusal,
            "arguments": self.arguments,
            "finish_reason": self.finish,
            "logprobs": self.logprobs,
        }


class Asker:
    def __init__(self, base_url):
        self.base_url = base_url
        self.clients = {}

    def client(self, base_url):
        if base_url not in self.clients:
            self.clients[base_url] = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        return self.clients[base_url]

    def ask(self, call):
        """Fill an outcome as far as the call comes."""
        out = {"ids": [], "models": [], "chunks": 0, "choices": None, "usage": None, "headers": {}, "raised": None}
        choices = {}
        begun = time.monotonic()
        try:
            self.read(call, out, choices, begun)
        except Exception as e:  # whatever it is, the caller of the library would have met it
            cause = e.__cause__
            out["raised"] = {
                "type": f"{type(e).__module__.split('.')[0]}.{type(e).__name__}",
                "message": str(e),
                "status": getattr(e, "status_code", None),
                "code": getattr(e, "code", None) if isinstance(e, openai.APIError) else None,
                "cause": "" if cause is None else type(cause).__name__,
            }
            response = getattr(e, "response", None)
            if response is not None:
                out["headers"] = ours(response.headers)
        if choices:
            out["choices"] = [choices[i].result() for i in sorted(choices)]
        out["took_ms"] = (time.monotonic() - begun) * 1000
        return out

    def read(self, call, out, choices, begun):
        client = self.client(call.get("base_url") or self.base_url)
        api = client.completions if call.get("legacy") else client.chat.completions
        raw = api.with_raw_response.create(
            stream=bool(call.get("stream")),
            timeout=call.get("timeout") or 30,
            extra_headers=call.get("headers") or {},
            **call["body"],
        )
        out["headers"] = ours(raw.headers)
        if not call.get("stream"):
            self.add(raw.parse(), out, choices)
            return
        for chunk in raw.parse():
            self.add(chunk, out, choices)
            if "first_ms" not in out and any(c.text or c.refusal or c.arguments for c in choices.values()):
                out["first_ms"] = (time.monotonic() - begun) * 1000

    def add(self, part, out, choices):
        out["chunks"] += 1
        if part.id is not None and part.id not in out["ids"]:
            out["ids"].append(part.id)
        if part.model is not None and part.model not in out["models"]:
            out["models"].append(part.model)
        if getattr(part, "usage", None) is not None:
            out["usage"] = {"prompt": part.usage.prompt_tokens, "completion": part.usage.completion_tokens}
        for choice in part.choices or []:
            choices.setdefault(choice.index, Told(choice.index)).add(choice)


def ours(headers):
    return {k.lower(): v for k, v in headers.items() if k.lower().startswith("x-safestate-") or k.lower() == "content-type"}


def main():
    asker = Asker(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(asker.ask(json.loads(line)), allow_nan=False), flush=True)


main()
