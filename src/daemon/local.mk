# SPDX-License-Identifier: BSD-2-Clause

# All of the daemon but main(), so that unit tests can link it.
noinst_LTLIBRARIES += src/daemon/libdaemon.la

src_daemon_libdaemon_la_SOURCES =

# What a program links to have the whole daemon, in the order of the layers.
daemon_libs = \
	src/daemon/libdaemon.la \
	src/stack/libstack.la \
	src/arena/libarena.la \
	src/proto/libproto.la \
	src/base/libbase.la \
	$(EVENT_PTHREADS_LIBS) $(EVENT_LIBS) $(CONFUSE_LIBS) \
	$(SYSTEMD_LIBS) $(MNL_LIBS) $(JSON_C_LIBS)

# With src/daemon/main.c:
#sbin_PROGRAMS += xtcpd
#xtcpd_SOURCES = src/daemon/main.c
#xtcpd_LDADD = $(daemon_libs)
