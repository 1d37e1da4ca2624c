# SPDX-License-Identifier: BSD-2-Clause

# With the sources of libxtcp. The convenience libraries end up inside it, and
# only what starts with xtcp_ is visible outside. -version-info is
# CURRENT:REVISION:AGE of the interface, see libtool's manual, "Versioning".
#lib_LTLIBRARIES += src/lib/libxtcp.la
#src_lib_libxtcp_la_SOURCES =
#src_lib_libxtcp_la_LIBADD = src/proto/libproto.la src/base/libbase.la
#src_lib_libxtcp_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 \
#	-no-undefined -export-symbols-regex '^xtcp_'

xtcpincludedir = $(includedir)/xtcp
xtcpinclude_HEADERS = include/xtcp/xtcp.h
pkgconfig_DATA += src/lib/libxtcp.pc
