# SPDX-License-Identifier: BSD-2-Clause

# The sample backend.
bin_PROGRAMS += xtcp-echod
xtcp_echod_SOURCES = src/tools/echod.c
xtcp_echod_LDADD = src/lib/libxtcp.la src/base/libbase.la
