# SPDX-License-Identifier: BSD-2-Clause

noinst_PROGRAMS += examples/chat examples/ledger
examples_chat_SOURCES = examples/chat.c
examples_chat_LDADD = src/lib/libxtcp.la
examples_ledger_SOURCES = examples/ledger.c
examples_ledger_LDADD = src/lib/libxtcp.la
