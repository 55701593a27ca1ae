#!/usr/bin/env python3
"""The model's latencies over the load, for several numbers of workers, as SVG.

    bench/capacity_plot.py --service FILE --out FILE.svg [--workers 1 2 4 8] [--seconds 4] [--items 3000]

Needs simpy. Each line is one number of workers: the 95th percentile of the time from arrival to result, over the items
a second, up to 95 % of what so many workers can speak.
"""
import argparse
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
from capacity import read_kind, simulate  # noqa: E402

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 60, 50, 30, 20
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#8d5a97", "#c77d0a")
options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--service", required=True)
options.add_argument("--out", required=True)
options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
options.add_argument("--seconds", type=float, default=4)
options.add_argument("--items", type=int, default=3000)
arguments = options.parse_args()
kind = read_kind(arguments.service)
load = {"seconds": arguments.seconds}
lines = []
for workers in arguments.workers:
    most = workers * kind.busiest(arguments.seconds)
    rates = [most * share for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)]
    lines.append((workers, [(rate, simulate(kind, workers, rate, arguments.items, load).p(0.95)) for rate in rates]))
most_rate = max(rate for _, points in lines for rate, _ in points)
# What is far beyond is of no interest: four times the latency without load.
most_time = 4 * lines[-1][1][0][1]


def place(rate, seconds):
    x = LEFT + rate / most_rate * (WIDTH - LEFT - RIGHT)
    return x, HEIGHT - BOTTOM - min(seconds / most_time, 1) * (HEIGHT - BOTTOM - TOP)


def steps(most):
    """About five round numbers up to `most`."""
    size = 10 ** math.floor(math.log10(most / 4))
    size *= next(factor for factor in (1, 2, 5, 10) if most / (size * factor) <= 6)
    return [size * i for i in range(int(most / size) + 1)]


out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
       ' font-family="sans-serif" font-size="12">',
       f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
       f'<text x="{LEFT}" y="18">{kind.name}: p95 from arrival to result, '
       f'{arguments.seconds:g} s of speech an item</text>']
for rate in steps(most_rate):
    x, y = place(rate, 0)
    out.append(f'<path d="M{x:.1f} {TOP}V{y:.1f}" stroke="#ddd"/><text x="{x:.1f}" y="{y + 16:.1f}" '
               f'text-anchor="middle">{rate:g}</text>')
for seconds in steps(most_time):
    x, y = place(0, seconds)
    out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y + 4:.1f}" '
               f'text-anchor="end">{seconds:g} s</text>')
out.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">items a second</text>')
for (workers, points), colour in zip(lines, COLOURS):
    beyond = next((i for i, (_, seconds) in enumerate(points) if seconds > most_time), len(points))
    points = points[:beyond + 1]  # the last one shows where the line leaves
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    x, y = place(*points[-1])
    out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
               f'<text x="{x - 6:.1f}" y="{y - 4:.1f}" text-anchor="end" fill="{colour}">{workers}</text>')
pathlib.Path(arguments.out).write_text("\n".join(out) + "\n</svg>\n")
