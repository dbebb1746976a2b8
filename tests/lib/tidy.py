# SPDX-License-Identifier: BSD-3-Clause
"""tidy.py ROOT BUILD: clang-tidy over the product's sources, two at a time.

A file that was found clean is not looked at again until it, a file of ours that it includes, its compiler
command, .clang-tidy or clang-tidy itself changes: the hash of all those is its stamp.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

FOLDERS = ("steering_bpf", "fib_sync", "dataplane")


def dependencies(build):
    """{object: [files that went into it]}, as ninja recorded them while building."""
    said = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True)
    found, current = {}, None
    for line in said.stdout.splitlines():
        if line.startswith("    "):
            found[current].append(line.strip())
        elif ": #deps" in line:
            current = line.split(": #deps")[0]
            found[current] = []
    return found


def stamp(root, build, entry, deps, version):
    digest = hashlib.sha256(version + entry["command"].encode())
    ours = {entry["file"], str(root / ".clang-tidy")}
    for name in deps:
        path = os.path.normpath(build / name)
        # The compiler's and the libraries' headers come with a version; ours are read.
        if path.startswith(str(root)):
            ours.add(path)
    for path in sorted(ours):
        digest.update(path.encode() + pathlib.Path(path).read_bytes())
    return digest.hexdigest()


def tidy(build, path):
    return subprocess.run(["clang-tidy", "--quiet", "-p", build, path], capture_output=True, text=True,
                          check=False)


def main():
    root, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    stamps = build / "tidy"
    stamps.mkdir(exist_ok=True)
    deps = dependencies(build)
    work, clean = {}, 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        inside = path.is_relative_to(root) and path.relative_to(root).parts[0] in FOLDERS
        if not inside or path.suffix != ".cpp" or path in work:
            continue
        object_name = re.search(r" -o (\S+)", entry["command"])[1]
        # What was never compiled there has no known includes: it is looked at each time.
        value = stamp(root, build, entry, deps[object_name], version) if object_name in deps else None
        file = stamps / (str(path.relative_to(root)).replace("/", "%") + ".ok")
        if file.exists() and file.read_text() == value:
            clean += 1
        else:
            work[path] = (file, value)
    print(f"clang-tidy: {len(work) + clean} files, {len(work)} to look at", flush=True)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, done in zip(work, pool.map(lambda p: tidy(build, p), work)):
            if done.returncode == 0:
                file, value = work[path]
                if value is not None:
                    file.write_text(value)
                continue
            failed += 1
            print(done.stdout.strip() or done.stderr.strip(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
