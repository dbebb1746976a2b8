# SPDX-License-Identifier: BSD-3-Clause
"""The oracle: the same frames go through a router of the kernel alone and one with millrace; what leaves must be equal.

    twins        the two routers, and changes applied to both
    wire         the far ends of a router's links: frames in and out, ARP and ND answered for simulated hosts
    exchange     frames into both routers, what leaves compared whole; how a row looks at it
    may_differ   where the two may differ, each by name
    decode       a frame as text
    table        @row, and how the rows are run; rows/ has them
    random_*     random routes and frames from a seed

`tests/conformance` runs it by hand, tests/netns/conformance.py and random_frames.py in the test run.
"""
