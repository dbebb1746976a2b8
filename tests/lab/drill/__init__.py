# SPDX-License-Identifier: BSD-3-Clause
"""Drills on the running product: something bad happens under traffic and BGP, beside a twin with the kernel alone."""
