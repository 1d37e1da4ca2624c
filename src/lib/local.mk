# SPDX-License-Identifier: BSD-2-Clause

# All of libxtcp, with its inner names visible: for the unit tests.
noinst_LTLIBRARIES += src/lib/libxtcpcore.la

src_lib_libxtcpcore_la_SOURCES = \
	src/lib/api.c \
	src/lib/conn.c \
	src/lib/conn.h \
	src/lib/ctx.c \
	src/lib/ctx.h \
	src/lib/default.c \
	src/lib/direct.c \
	src/lib/direct.h \
	src/lib/group.c \
	src/lib/group.h \
	src/lib/link.c \
	src/lib/link.h \
	src/lib/link_in.c \
	src/lib/link_out.c \
	src/lib/listen.c \
	src/lib/listen.h \
	src/lib/local.c \
	src/lib/local.h \
	src/lib/open.c \
	src/lib/open.h \
	src/lib/select.c
src_lib_libxtcpcore_la_LIBADD = src/proto/libproto.la

# The installed library: the convenience libraries end up inside it, and only
# what starts with xtcp_ is visible outside. -version-info is
# CURRENT:REVISION:AGE of the interface, see libtool's manual, "Versioning".
lib_LTLIBRARIES += src/lib/libxtcp.la
src_lib_libxtcp_la_SOURCES =
src_lib_libxtcp_la_LIBADD = src/lib/libxtcpcore.la
src_lib_libxtcp_la_LDFLAGS = $(AM_LDFLAGS) -version-info 1:0:0 \
	-no-undefined -export-symbols-regex '^xtcp_'

xtcpincludedir = $(includedir)/xtcp
xtcpinclude_HEADERS = include/xtcp/xtcp.h
pkgconfig_DATA += src/lib/libxtcp.pc
