#!/usr/bin/env python3
"""Writes Lua scripts for Redis as a C table: embed_scripts.py OUT.c COMMON.lua NAME.lua...

COMMON.lua comes before each script, after the script's first line if that says how Redis is to run it."""
import os
import sys


def main(out, common, *paths):
    with open(common, encoding="utf-8") as file:
        shared = file.read()
    lines = ['#include "queue/redis/scripts.h"', ""]
    table = []
    for path in paths:
        name = os.path.basename(path).removesuffix(".lua")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        head = ""
        if text.startswith("#!"):
            head, text = text.split("\n", 1)
            head += "\n"
        data = (head + shared + text).encode() + b"\0"
        lines.append(f"static const unsigned char {name}[] = {{")
        for at in range(0, len(data), 24):
            lines.append("    " + ", ".join(str(byte) for byte in data[at:at + 24]) + ",")
        lines.append("};")
        table.append(f"    [TMB_SCRIPT_{name.upper()}] = (const char *){name},")
    lines += ["", "const char *const tmb_redis_scripts[] = {", *table, "};", ""]
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
