# SPDX-License-Identifier: BSD-2-Clause
#
# Fuzz targets: tests/fuzz/fuzz_NAME.c each, with libFuzzer when configured
# with --enable-fuzzers, else with a main() that replays files (replay.c).

fuzz_targets = \
	tests/fuzz/fuzz_conf \
	tests/fuzz/fuzz_control \
	tests/fuzz/fuzz_frames \
	tests/fuzz/fuzz_libxtcp \
	tests/fuzz/fuzz_packet \
	tests/fuzz/fuzz_parse \
	tests/fuzz/fuzz_proto \
	tests/fuzz/fuzz_recover

if FUZZERS
fuzz_engine =
fuzz_engine_ldflags = -fsanitize=fuzzer
else
fuzz_engine = tests/fuzz/replay.c
fuzz_engine_ldflags =
endif

# What the targets stand on. Its own branches are of no interest to a fuzzer:
# it is built without FUZZ_CFLAGS.
fuzz_cflags = -std=c17 $(WARN_CFLAGS) $(SANITIZE_CFLAGS) -pthread

check_LTLIBRARIES = tests/fuzz/libfuzz.la tests/fuzz/libfuzzworld.la \
	tests/fuzz/libfuzzos.la

tests_fuzz_libfuzz_la_SOURCES = tests/fuzz/fuzz.c tests/fuzz/fuzz.h
tests_fuzz_libfuzz_la_CFLAGS = $(fuzz_cflags)

tests_fuzz_libfuzzworld_la_SOURCES = tests/fuzz/world.c tests/fuzz/world.h \
	tests/fuzz/client.c
tests_fuzz_libfuzzworld_la_CFLAGS = $(fuzz_cflags)

tests_fuzz_libfuzzos_la_SOURCES = tests/fuzz/os.c tests/fuzz/os.h \
	tests/fuzz/os_events.c tests/fuzz/os_file.h
tests_fuzz_libfuzzos_la_CFLAGS = $(fuzz_cflags)

fuzz_ldflags = $(AM_LDFLAGS) $(fuzz_engine_ldflags)
# what world.c has of its own
fuzz_world_ldflags = $(fuzz_ldflags) -Wl,--wrap=mmap -Wl,--wrap=munmap
# ... and os.c
fuzz_os_ldflags = -Wl,--wrap=open -Wl,--wrap=read -Wl,--wrap=write -Wl,--wrap=recv \
	-Wl,--wrap=send -Wl,--wrap=sendmsg -Wl,--wrap=close -Wl,--wrap=socket \
	-Wl,--wrap=connect -Wl,--wrap=bind -Wl,--wrap=listen \
	-Wl,--wrap=accept4 -Wl,--wrap=getsockopt -Wl,--wrap=setsockopt \
	-Wl,--wrap=unlink -Wl,--wrap=getrandom -Wl,--wrap=group_now_ms \
	-Wl,--wrap=epoll_create1 -Wl,--wrap=epoll_ctl -Wl,--wrap=epoll_wait \
	-Wl,--wrap=eventfd -Wl,--wrap=timerfd_create \
	-Wl,--wrap=timerfd_settime -Wl,--wrap=event_new -Wl,--wrap=event_add \
	-Wl,--wrap=event_del -Wl,--wrap=event_free
fuzz_stack = tests/fuzz/libfuzzworld.la tests/fuzz/libfuzz.la \
	src/stack/libstack.la src/arena/libarena.la src/base/libbase.la

fuzz_garble = tests/fuzz/recover.h tests/fuzz/recover_garble.c
fuzz_packets = tests/fuzz/packet.h tests/fuzz/packet_segs.c \
	tests/fuzz/packet_calls.c

tests_fuzz_fuzz_packet_SOURCES = tests/fuzz/fuzz_packet.c \
	$(fuzz_packets) $(fuzz_engine)
tests_fuzz_fuzz_packet_LDFLAGS = $(fuzz_world_ldflags)
tests_fuzz_fuzz_packet_LDADD = $(fuzz_stack)

tests_fuzz_fuzz_recover_SOURCES = tests/fuzz/fuzz_recover.c \
	$(fuzz_garble) $(fuzz_packets) $(fuzz_engine)
tests_fuzz_fuzz_recover_LDFLAGS = $(fuzz_world_ldflags)
tests_fuzz_fuzz_recover_LDADD = $(fuzz_stack)

tests_fuzz_recover_bits_SOURCES = tests/fuzz/fuzz_recover.c \
	tests/fuzz/recover_bits.c $(fuzz_garble) $(fuzz_packets)
tests_fuzz_recover_bits_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mmap \
	-Wl,--wrap=munmap
tests_fuzz_recover_bits_LDADD = $(fuzz_stack)

tests_fuzz_fuzz_parse_SOURCES = tests/fuzz/fuzz_parse.c $(fuzz_engine)
tests_fuzz_fuzz_parse_LDFLAGS = $(fuzz_world_ldflags)
tests_fuzz_fuzz_parse_LDADD = $(fuzz_stack)

tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c $(fuzz_engine)
tests_fuzz_fuzz_conf_LDFLAGS = $(fuzz_ldflags) -Wl,--wrap=open \
	-Wl,--wrap=read -Wl,--wrap=close -Wl,--wrap=getgrnam
tests_fuzz_fuzz_conf_LDADD = tests/fuzz/libfuzz.la $(daemon_libs)

tests_fuzz_fuzz_frames_SOURCES = tests/fuzz/fuzz_frames.c \
	tests/fuzz/frames.h tests/fuzz/frames_peer.c $(fuzz_garble) \
	tests/fuzz/packet.h tests/fuzz/packet_segs.c $(fuzz_engine)
tests_fuzz_fuzz_frames_LDFLAGS = $(fuzz_world_ldflags) $(fuzz_os_ldflags)
tests_fuzz_fuzz_frames_LDADD = tests/fuzz/libfuzzos.la \
	tests/fuzz/libfuzzworld.la tests/fuzz/libfuzz.la $(daemon_libs)

tests_fuzz_fuzz_libxtcp_SOURCES = tests/fuzz/fuzz_libxtcp.c $(fuzz_engine)
tests_fuzz_fuzz_libxtcp_LDFLAGS = $(fuzz_ldflags) $(fuzz_os_ldflags)
tests_fuzz_fuzz_libxtcp_LDADD = tests/fuzz/libfuzzos.la \
	tests/fuzz/libfuzz.la src/lib/libxtcpcore.la src/proto/libproto.la \
	src/base/libbase.la

tests_fuzz_fuzz_control_SOURCES = tests/fuzz/fuzz_control.c $(fuzz_engine)
tests_fuzz_fuzz_control_LDFLAGS = $(fuzz_ldflags) -Wl,--wrap=socket_listen \
	-Wl,--wrap=listener_new -Wl,--wrap=listener_free -Wl,--wrap=unlink \
	-Wl,--wrap=bufferevent_socket_new -Wl,--wrap=bufferevent_free
tests_fuzz_fuzz_control_LDADD = tests/fuzz/libfuzz.la $(daemon_libs)

tests_fuzz_fuzz_proto_SOURCES = tests/fuzz/fuzz_proto.c $(fuzz_engine)
tests_fuzz_fuzz_proto_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_proto_LDADD = tests/fuzz/libfuzz.la $(daemon_libs)

check_PROGRAMS += $(fuzz_targets) tests/fuzz/recover_bits

TESTS += tests/fuzz/test_replay

EXTRA_DIST += \
	tests/fuzz/corpus \
	tests/fuzz/dict \
	tests/fuzz/regress \
	tests/fuzz/run \
	tests/fuzz/seeds \
	tests/fuzz/test_replay
