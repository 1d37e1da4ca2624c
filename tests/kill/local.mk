# SPDX-License-Identifier: BSD-2-Clause

check_PROGRAMS += tests/kill/instants
tests_kill_instants_SOURCES = \
	tests/kill/instants.c \
	tests/kill/instants.h \
	tests/kill/model.c \
	tests/kill/scripts.c \
	tests/kill/world.c
# As xtcpd itself: with the very order of writes that is installed.
tests_kill_instants_LDFLAGS = $(whole_ldflags)
tests_kill_instants_LDADD = $(unit_stack)

EXTRA_DIST += \
	tests/kill/mutations \
	tests/kill/test_instants
