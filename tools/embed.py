#!/usr/bin/env python3
"""Writes files as a C table: embed.py OUT.c URL=FILE ..."""
import hashlib
import sys

TYPES = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


def main(out, *pairs):
    lines = ['#include "server/web/assets.h"', ""]
    table = []
    for number, pair in enumerate(pairs):
        url, path = pair.split("=", 1)
        with open(path, "rb") as file:
            data = file.read()
        lines.append(f"static const unsigned char data_{number}[] = {{")
        for at in range(0, len(data), 24):
            lines.append("    " + ", ".join(str(byte) for byte in data[at:at + 24]) + ",")
        lines.append("};")
        kind = TYPES[path.rsplit(".", 1)[1]]
        digest = hashlib.sha256(data).hexdigest()[:32]
        table.append(f'    {{"{url}", "{kind}", "{digest}", data_{number}, sizeof(data_{number})}},')
    lines += ["", "const tmb_asset tmb_assets[] = {", *table, "    {0},", "};", ""]
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
