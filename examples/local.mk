# SPDX-License-Identifier: BSD-2-Clause

noinst_PROGRAMS += examples/chat
examples_chat_SOURCES = examples/chat.c
examples_chat_LDADD = src/lib/libxtcp.la
