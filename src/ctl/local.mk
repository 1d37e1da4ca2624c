# SPDX-License-Identifier: BSD-2-Clause

bin_PROGRAMS += xtcpctl

# All of xtcpctl but main(), so that unit tests can link it.
noinst_LTLIBRARIES += src/ctl/libctl.la

src_ctl_libctl_la_SOURCES = \
	src/ctl/capture.c \
	src/ctl/capture.h \
	src/ctl/client.c \
	src/ctl/client.h \
	src/ctl/commands.c \
	src/ctl/commands.h \
	src/ctl/json.c \
	src/ctl/json.h \
	src/ctl/pcapng.c \
	src/ctl/pcapng.h \
	src/ctl/print.c \
	src/ctl/print.h \
	src/ctl/top.c \
	src/ctl/top.h \
	src/ctl/top_draw.c \
	src/ctl/top_draw.h \
	src/ctl/top_view.c \
	src/ctl/top_view.h
src_ctl_libctl_la_CFLAGS = $(AM_CFLAGS) $(NCURSES_CFLAGS) $(PCAP_CFLAGS)

# What a program links to have it, in the order of the layers.
ctl_libs = src/ctl/libctl.la src/proto/libcontrol.la src/base/libbase.la \
	$(JSON_C_LIBS) $(NCURSES_LIBS) $(PCAP_LIBS) -lm

xtcpctl_SOURCES = src/ctl/main.c
xtcpctl_LDADD = $(ctl_libs)
