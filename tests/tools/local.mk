# SPDX-License-Identifier: BSD-2-Clause

# The protocol of bulkc and bulkd.
tools_bulk = tests/tools/bulk.c tests/tools/bulk.h tests/tools/pattern.h

# Programs that the tests in tests/net and tests/packet run.
check_PROGRAMS += \
	tests/tools/apicall \
	tests/tools/bulkc \
	tests/tools/bulkd \
	tests/tools/fillarena \
	tests/tools/holdc \
	tests/tools/flood \
	tests/tools/httpd \
	tests/tools/impair \
	tests/tools/msgclient \
	tests/tools/onced \
	tests/tools/staticd \
	tests/tools/vstack

tests_tools_apicall_SOURCES = tests/tools/apicall.c
tests_tools_apicall_LDADD = src/lib/libxtcp.la
tests_tools_bulkc_SOURCES = tests/tools/bulkc.c $(tools_bulk)
tests_tools_bulkd_SOURCES = tests/tools/bulkd.c $(tools_bulk)
tests_tools_bulkd_LDADD = src/lib/libxtcp.la
tests_tools_fillarena_SOURCES = tests/tools/fillarena.c tests/tools/pattern.h
tests_tools_fillarena_LDADD = src/stack/libstack.la src/arena/libarena.la src/base/libbase.la
tests_tools_holdc_SOURCES = \
	tests/tools/hold.h \
	tests/tools/hold_conn.c \
	tests/tools/hold_stats.c \
	tests/tools/holdc.c \
	tests/tools/pattern.h
tests_tools_flood_SOURCES = tests/tools/flood.c
tests_tools_httpd_SOURCES = tests/tools/httpd.c
tests_tools_httpd_LDADD = src/lib/libxtcp.la
tests_tools_impair_SOURCES = \
	tests/tools/impair.c \
	tests/tools/impair.h \
	tests/tools/impair_packet.c \
	tests/tools/impair_spec.c \
	tests/tools/impair_way.c
tests_tools_msgclient_SOURCES = tests/tools/msgclient.c tests/tools/pattern.h
tests_tools_onced_SOURCES = tests/tools/onced.c
tests_tools_onced_LDADD = src/lib/libxtcp.la
# Static, whatever else is built: a sanitizer has no static library.
tests_tools_staticd_SOURCES = tests/tools/staticd.c
tests_tools_staticd_CFLAGS = -std=c17 $(WARN_CFLAGS) -pthread
tests_tools_staticd_LDFLAGS = -all-static -pthread
tests_tools_vstack_SOURCES = tests/tools/vstack.c
tests_tools_vstack_LDADD = src/stack/libstack.la src/arena/libarena.la src/base/libbase.la

EXTRA_DIST += \
	bench/recovery \
	bench/referee \
	tests/net/capture.py \
	tests/net/outlive.py \
	tests/net/frames.py \
	tests/net/harness.py \
	tests/net/killing.py \
	tests/net/nspawn.py \
	tests/net/overload.py \
	tests/net/referee.py \
	tests/net/runner.py \
	tests/net/test_backends.py \
	tests/net/test_clients.py \
	tests/net/test_config.py \
	tests/net/test_impair.py \
	tests/net/test_fdstore.py \
	tests/net/test_kill.py \
	tests/net/test_loss.py \
	tests/net/test_operation.py \
	tests/net/test_supervise.py \
	tests/net/test_swarm.py \
	tests/net/test_overload.py \
	tests/net/plain.py \
	tests/net/test_plain.py \
	tests/net/test_plain_servers.py \
	tests/net/test_referee.py \
	tests/net/test_reload.py \
	tests/net/test_steering.py \
	tests/net/test_systemd.py \
	tests/net/test_tshark.py \
	tests/packet/client.py \
	tests/packet/live.py \
	tests/packet/packet.py \
	tests/packet/peer.py \
	tests/packet/play.py \
	tests/packet/scene.py \
	tests/packet/script.py \
	tests/packet/scripts \
	tests/packet/test_ack.py \
	tests/packet/test_conformance.py \
	tests/packet/test_hostile.py \
	tests/packet/test_hostile_local.py \
	tests/packet/test_patent.py \
	tests/packet/test_scripts.py \
	tests/packet/test_scripts_live.py \
	tests/packet/test_tcp.py \
	tests/packet/test_tcp_close.py \
	tests/packet/virtual.py
