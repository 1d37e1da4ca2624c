# SPDX-License-Identifier: BSD-2-Clause

noinst_LTLIBRARIES += src/proto/libproto.la

src_proto_libproto_la_SOURCES =
