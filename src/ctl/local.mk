# SPDX-License-Identifier: BSD-2-Clause

# With the sources of xtcpctl:
#bin_PROGRAMS += xtcpctl
#xtcpctl_SOURCES =
#xtcpctl_LDADD = src/proto/libproto.la src/base/libbase.la $(JSON_C_LIBS)
