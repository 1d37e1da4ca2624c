# SPDX-License-Identifier: BSD-2-Clause

# The launcher, and the library that it preloads. What makes no system call in
# it is a library for the unit tests, too.
noinst_LTLIBRARIES += src/run/libruncore.la
src_run_libruncore_la_SOURCES = \
	src/run/elf.c \
	src/run/elf.h \
	src/run/interest.c \
	src/run/interest.h \
	src/run/names.c \
	src/run/names.h \
	src/run/options.c \
	src/run/run.h
src_run_libruncore_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

bin_PROGRAMS += xtcp-run
xtcp_run_SOURCES = \
	src/run/main.c \
	src/run/target.c \
	src/run/target.h
xtcp_run_CPPFLAGS = $(AM_CPPFLAGS) \
	-DXTCP_RUN_LIBRARY='"$(pkglibdir)/libxtcp-run.so"'
xtcp_run_LDADD = src/run/libruncore.la src/lib/libxtcpcore.la \
	src/base/libbase.la

# Calls of libxtcp that go to src/run/wrap.c.
run_wrapped = -Wl,--wrap=__poll_chk -Wl,--wrap=__read_chk \
	-Wl,--wrap=__recv_chk -Wl,--wrap=accept4 -Wl,--wrap=bind -Wl,--wrap=close \
	-Wl,--wrap=connect -Wl,--wrap=epoll_create1 -Wl,--wrap=epoll_ctl \
	-Wl,--wrap=epoll_wait -Wl,--wrap=eventfd -Wl,--wrap=fcntl \
	-Wl,--wrap=getsockname -Wl,--wrap=getsockopt -Wl,--wrap=listen \
	-Wl,--wrap=poll -Wl,--wrap=read -Wl,--wrap=recv -Wl,--wrap=send \
	-Wl,--wrap=sendmsg -Wl,--wrap=setsockopt -Wl,--wrap=shutdown \
	-Wl,--wrap=socket -Wl,--wrap=timerfd_create -Wl,--wrap=write

# A sanitized build has no shared libraries (configure.ac).
if SHARED_LIBRARIES
pkglib_LTLIBRARIES += src/run/libxtcp-run.la
src_run_libxtcp_run_la_SOURCES = \
	src/run/calls.h \
	src/run/calls_fd.c \
	src/run/calls_io.c \
	src/run/calls_proc.c \
	src/run/calls_sock.c \
	src/run/calls_wait.c \
	src/run/hub.c \
	src/run/hub.h \
	src/run/listener.c \
	src/run/listener.h \
	src/run/real.c \
	src/run/real.h \
	src/run/say.c \
	src/run/stream.c \
	src/run/stream.h \
	src/run/stream_send.c \
	src/run/vobj.c \
	src/run/vobj.h \
	src/run/vopt.c \
	src/run/vopt.h \
	src/run/vpoll.c \
	src/run/vpoll.h \
	src/run/vset.c \
	src/run/vset.h \
	src/run/vset_adopt.c \
	src/run/wait.c \
	src/run/wait.h \
	src/run/wrap.c
# Not with -flto: it would join libxtcp's calls and our functions of the same
# names before the linker's --wrap parts them.
src_run_libxtcp_run_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden -fno-lto
src_run_libxtcp_run_la_LIBADD = src/run/libruncore.la src/lib/libxtcpcore.la \
	-ldl
src_run_libxtcp_run_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-export-symbols $(srcdir)/src/run/exports.sym \
	$(run_wrapped)
src_run_libxtcp_run_la_DEPENDENCIES = src/run/libruncore.la \
	src/lib/libxtcpcore.la src/run/exports.sym
endif
EXTRA_DIST += src/run/exports.sym
