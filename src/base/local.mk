# SPDX-License-Identifier: BSD-2-Clause

noinst_LTLIBRARIES += src/base/libbase.la

src_base_libbase_la_SOURCES = \
	src/base/bitmap.c \
	src/base/bitmap.h \
	src/base/bytes.h \
	src/base/counter.h \
	src/base/cursor.c \
	src/base/cursor.h \
	src/base/histogram.c \
	src/base/histogram.h \
	src/base/log.c \
	src/base/log.h \
	src/base/ring.c \
	src/base/ring.h \
	src/base/seq.h \
	src/base/siphash.c \
	src/base/siphash.h \
	src/base/sockbuf.h \
	src/base/units.h
