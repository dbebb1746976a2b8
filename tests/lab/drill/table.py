# SPDX-License-Identifier: BSD-3-Clause
"""The table: a row for each drill and state of the machine."""

import textwrap

WIDTH = 46


def head():
    return (f"{'':<{WIDTH}}         {'millrace':>19}   {'the kernel alone':>19}\n"
            f"{'drill':<{WIDTH}} {'machine':<7} {'lost':>7} {'gap ms':>6} {'BGP':>4}   {'lost':>7} {'gap ms':>6} {'BGP':>4}   "
            "required")


def row(result):
    """result: of one drill, see __main__."""
    begin = f"{result['drill']:<{WIDTH}} {result['machine']:<7} "
    if result["result"] == "skip":
        return f"{begin}skipped: {result['why']}"
    if "mill" not in result:
        return f"{begin}MISS: {result['why']}"
    lines = [f"{begin}{result['mill'].text()}   {result['twin'].text()}   {result['required']}: {result['result']}"]
    for text in (result["note"], result["why"] and f"MISS: {result['why']}"):
        if text:
            lines += textwrap.wrap(text, 110, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)


def markdown(results):
    """For README: a line for each drill, quiet and loaded."""
    lines = ["| drill | required | quiet: lost, longest gap (kernel) | loaded: lost, longest gap (kernel) |", "|---|---|---|---|"]
    drills = dict.fromkeys(r["drill"] for r in results)
    for drill in drills:
        cells = {r["machine"]: r for r in results if r["drill"] == drill}
        required = next(iter(cells.values()))["required"]
        lines.append(f"| {drill} | {required} | {_cell(cells.get('quiet'))} | {_cell(cells.get('loaded'))} |")
    return "\n".join(lines)


def _cell(result):
    if result is None:
        return "–"
    if "mill" not in result:
        return "skipped" if result["result"] == "skip" else "MISS"
    mill, twin = result["mill"], result["twin"]
    mark = "" if result["result"] == "ok" else " MISS"
    note = f"; {result['note']}" if result["note"] else ""
    return f"{mill.lost}, {mill.gap_ms:.0f} ms ({twin.lost}, {twin.gap_ms:.0f} ms){note}{mark}"
