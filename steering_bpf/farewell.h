/* SPDX-License-Identifier: BSD-3-Clause */
/* What farewell.bpf.c and farewell.cpp agree on. */
#ifndef MILLRACE_FAREWELL_H
#define MILLRACE_FAREWELL_H

/* Ports whose heartbeats are stopped; those of further ones go stale. */
#define MILLRACE_MOST_FAREWELLS 256

#endif /* MILLRACE_FAREWELL_H */
