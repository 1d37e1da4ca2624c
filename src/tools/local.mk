# SPDX-License-Identifier: BSD-2-Clause

# The sample backend.
bin_PROGRAMS += xtcp-echod
xtcp_echod_SOURCES = src/tools/echod.c
xtcp_echod_LDFLAGS = $(whole_ldflags)
xtcp_echod_LDADD = src/lib/libxtcp.la src/base/libbase.la

# The load generator. It has a TCP of its own: nothing of stack and arena. All
# but its main() is a library for the tests.
bin_PROGRAMS += xtcp-swarm
noinst_LTLIBRARIES += src/tools/libswarm.la
src_tools_libswarm_la_SOURCES = \
	src/tools/swarm_conf.c \
	src/tools/swarm_conf.h \
	src/tools/swarm_conn.c \
	src/tools/swarm_conn.h \
	src/tools/swarm_counters.h \
	src/tools/swarm_flood.c \
	src/tools/swarm_flood.h \
	src/tools/swarm_hist.c \
	src/tools/swarm_hist.h \
	src/tools/swarm_input.c \
	src/tools/swarm_load.c \
	src/tools/swarm_load.h \
	src/tools/swarm_net.c \
	src/tools/swarm_net.h \
	src/tools/swarm_pace.c \
	src/tools/swarm_pace.h \
	src/tools/swarm_packet.c \
	src/tools/swarm_packet.h \
	src/tools/swarm_pattern.c \
	src/tools/swarm_pattern.h \
	src/tools/swarm_report.c \
	src/tools/swarm_report.h \
	src/tools/swarm_rng.h \
	src/tools/swarm_sum.c \
	src/tools/swarm_sum.h \
	src/tools/swarm_tcp.c \
	src/tools/swarm_tcp.h \
	src/tools/swarm_tun.c \
	src/tools/swarm_tun.h \
	src/tools/swarm_tuple.c \
	src/tools/swarm_tuple.h \
	src/tools/swarm_watch.c \
	src/tools/swarm_watch.h
src_tools_libswarm_la_CFLAGS = $(AM_CFLAGS) $(MNL_CFLAGS) $(JSON_C_CFLAGS)
src_tools_libswarm_la_LIBADD = src/base/libbase.la $(MNL_LIBS) $(JSON_C_LIBS)
xtcp_swarm_SOURCES = src/tools/swarm.c
xtcp_swarm_LDFLAGS = $(whole_ldflags)
xtcp_swarm_LDADD = src/tools/libswarm.la src/base/libbase.la
