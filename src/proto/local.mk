# SPDX-License-Identifier: BSD-2-Clause

# Frames and addresses: what libxtcp needs, libc only.
noinst_LTLIBRARIES += src/proto/libproto.la

src_proto_libproto_la_SOURCES = \
	src/proto/addr.c \
	src/proto/addr.h \
	src/proto/capture.h \
	src/proto/frame.c \
	src/proto/frame.h \
	src/proto/stream.c \
	src/proto/stream.h

# Control messages, for the daemon and xtcpctl: these need json-c.
noinst_LTLIBRARIES += src/proto/libcontrol.la

src_proto_libcontrol_la_SOURCES = \
	src/proto/control.c \
	src/proto/control.h
src_proto_libcontrol_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
src_proto_libcontrol_la_LIBADD = $(JSON_C_LIBS)
