# SPDX-License-Identifier: BSD-2-Clause

check_PROGRAMS += tests/sim/sim
tests_sim_sim_SOURCES = \
	tests/sim/attack.c \
	tests/sim/backend.c \
	tests/sim/backend.h \
	tests/sim/backend_conn.c \
	tests/sim/check.c \
	tests/sim/check_kill.c \
	tests/sim/check_state.c \
	tests/sim/client.c \
	tests/sim/client.h \
	tests/sim/client_send.c \
	tests/sim/flow.h \
	tests/sim/keep.c \
	tests/sim/kill.c \
	tests/sim/link.c \
	tests/sim/link.h \
	tests/sim/main.c \
	tests/sim/rng.h \
	tests/sim/rogue.c \
	tests/sim/scenario.c \
	tests/sim/scenario_flows.c \
	tests/sim/sim.h \
	tests/sim/trace.c \
	tests/sim/wire.c \
	tests/sim/wire.h \
	tests/sim/world.c \
	tests/sim/world_up.c
# As xtcpd itself: the kills are in the very code that is installed.
tests_sim_sim_LDFLAGS = $(whole_ldflags)
tests_sim_sim_LDADD = $(daemon_libs)

# For tests/sim/test_mutations, which links the program itself.
print-sim-libs:
	@echo $(EVENT_PTHREADS_LIBS) $(EVENT_LIBS) $(CONFUSE_LIBS) \
		$(SYSTEMD_LIBS) $(MNL_LIBS) $(JSON_C_LIBS)

.PHONY: print-sim-libs
