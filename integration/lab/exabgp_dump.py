#!/usr/bin/env python3
"""Appends what ExaBGP says, a JSON object a line, to the file that is named.

Standard input may be non-blocking, which is why `cat` does not do."""
import os
import select
import sys

with open(sys.argv[1], "ab", 0) as out:
    while True:
        select.select([0], [], [])
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            continue
        if not data:
            break
        out.write(data)
