# SPDX-License-Identifier: BSD-2-Clause

bin_PROGRAMS += xtcpctl

xtcpctl_SOURCES = \
	src/ctl/client.c \
	src/ctl/client.h \
	src/ctl/commands.c \
	src/ctl/commands.h \
	src/ctl/main.c \
	src/ctl/print.c \
	src/ctl/print.h
xtcpctl_LDADD = src/proto/libcontrol.la src/base/libbase.la $(JSON_C_LIBS)
