#!/usr/bin/env python3
"""Shorten `go test -v`: one line a test, a dot a sub-test, all of a failure.

Reads standard input. Everything that a passing sub-test printed is dropped;
lines of top-level tests, summaries and failures are kept. The exit status is
that of go test itself, by the shell's pipefail.
"""

import re
import sys

RESULT = re.compile(r"^(\s*)--- (PASS|FAIL|SKIP): (\S+) \((.*)\)$")
NOISE = re.compile(r"^\s*=== (RUN|PAUSE|CONT|NAME)\b")
KEEP = re.compile(r"^(ok|FAIL|PASS|panic:|\?|cells=|figure |fatal|exit status|goroutine )")


def main():
    held = []
    failed = []
    dots = 0
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line.startswith("=== RUN") and "/" not in line:
            if dots:
                print()
            dots = 0
            print(line.replace("=== RUN  ", "  ...  "), flush=True)
            held = []
            continue
        if NOISE.match(line):
            if "/" in line:
                dots += 1
                if dots % 20 == 0:
                    print(".", end="", flush=True)
            continue
        result = RESULT.match(line)
        if result and not result.group(1):
            if dots:
                print()
            dots = 0
            if result.group(2) == "FAIL":
                print("\n".join(held))
            print(line, flush=True)
            held = []
            continue
        if result:
            if result.group(2) == "FAIL":
                held.append(line)
                failed.append(result.group(3))
            continue
        if KEEP.match(line) or "cells=" in line or "figure " in line:
            if dots:
                print()
            dots = 0
            print(line.strip(), flush=True)
            continue
        held.append(line)
        held = held[-4000:]
    if held:
        print("\n".join(held[-200:]))
    if failed:
        print("failed:\n  " + "\n  ".join(failed))


main()
