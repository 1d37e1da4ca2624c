# SPDX-License-Identifier: BSD-2-Clause

noinst_LTLIBRARIES += src/stack/libstack.la

src_stack_libstack_la_SOURCES = \
	src/stack/ack.c \
	src/stack/call.c \
	src/stack/cc.c \
	src/stack/cc.h \
	src/stack/cc_cubic.c \
	src/stack/cc_ops.h \
	src/stack/cc_reno.c \
	src/stack/checksum.c \
	src/stack/checksum.h \
	src/stack/conn.c \
	src/stack/conn.h \
	src/stack/cookie.c \
	src/stack/cookie.h \
	src/stack/counters.h \
	src/stack/detail.c \
	src/stack/detail.h \
	src/stack/frag.c \
	src/stack/frag.h \
	src/stack/icmp.c \
	src/stack/input.c \
	src/stack/isn.c \
	src/stack/listen.c \
	src/stack/options.c \
	src/stack/options.h \
	src/stack/output.c \
	src/stack/parse.c \
	src/stack/pmtu.c \
	src/stack/pmtu.h \
	src/stack/rack.c \
	src/stack/recover.c \
	src/stack/recovery.c \
	src/stack/recovery.h \
	src/stack/respond.c \
	src/stack/rexmit.c \
	src/stack/rtt.c \
	src/stack/rx.c \
	src/stack/sack.c \
	src/stack/sack.h \
	src/stack/seg.h \
	src/stack/source.c \
	src/stack/source.h \
	src/stack/stack.c \
	src/stack/stack.h \
	src/stack/state.c \
	src/stack/state.h \
	src/stack/timer.c \
	src/stack/tx.c \
	src/stack/undo.c \
	src/stack/wire.h
