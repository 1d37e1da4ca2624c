# SPDX-License-Identifier: BSD-2-Clause

noinst_LTLIBRARIES += src/arena/libarena.la

src_arena_libarena_la_SOURCES = \
	src/arena/arena.c \
	src/arena/arena.h \
	src/arena/chunks.c \
	src/arena/chunks.h \
	src/arena/huge.h \
	src/arena/index.c \
	src/arena/index.h \
	src/arena/layout.h \
	src/arena/sent.c \
	src/arena/sent.h \
	src/arena/order.h \
	src/arena/recover.c \
	src/arena/recover.h \
	src/arena/shard.c \
	src/arena/shard.h \
	src/arena/trim.h \
	src/arena/wheel.c \
	src/arena/wheel.h
