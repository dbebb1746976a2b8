# SPDX-License-Identifier: BSD-3-Clause
"""Makes the sources of another build of the classifier and millrace-steer, with other maps: other sizes, and one more.

    other_build.py SOURCE_DIR TARGET_DIR
"""

import pathlib
import sys

FILES = ("CMakeLists.txt", "*.c", "*.h", "*.cpp", "*.hpp", "*.8")

CHANGES = {  # each must be found, or it is no other build
    "include/millrace/abi.h": (("MILLRACE_MAX_QUEUES 64", "MILLRACE_MAX_QUEUES 128"),
                               ("MILLRACE_MAX_KEEP 4096", "MILLRACE_MAX_KEEP 8192"),
                               ("MILLRACE_KEEP_L4_WORDS 2048", "MILLRACE_KEEP_L4_WORDS 4096")),
    "steering_bpf/maps.bpf.h": (("#endif /* MILLRACE_MAPS_BPF_H */", """struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, __u64);
    __type(value, __u32);
    __uint(max_entries, 16);
} keep_mac SEC(".maps");

#endif /* MILLRACE_MAPS_BPF_H */"""),),
    "steering_bpf/maps.hpp": (("    state\n", "    state,\n    keep_mac\n"), ("map_count = 12", "map_count = 13"),
                              ("sizeof(millrace_port_state), 1},\n",
                               'sizeof(millrace_port_state), 1},\n    {"keep_mac", BPF_MAP_TYPE_HASH, 8, 4, 16},\n')),
    "steering_bpf/CMakeLists.txt": (("${PROJECT_SOURCE_DIR}", "${CMAKE_CURRENT_SOURCE_DIR}/.."),
                                    ("millrace_steering", "other_steering"), ("millrace-steer ", "other-steer "),
                                    ("install(", "set(not_installed ")),
}


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    names = [pathlib.Path("include/millrace/abi.h")]
    names += [p.relative_to(source) for pattern in FILES for p in (source / "steering_bpf").glob(pattern)]
    for name in names:
        text = (source / name).read_text(encoding="utf-8")
        for old, new in CHANGES.get(str(name), ()):
            if old not in text:
                sys.exit(f"{name}: no '{old}' in it; other_build.py has to follow")
            text = text.replace(old, new)
        out = target / name
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.exists() or out.read_text(encoding="utf-8") != text:
            out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
