# SPDX-License-Identifier: BSD-2-Clause
#
# A unit test is one Check program per module, tests/unit/LAYER/test_MODULE.c.
# To add one, two lines below:
#
#	unit_tests += tests/unit/LAYER/test_MODULE
#	tests_unit_LAYER_test_MODULE_LDADD = $(unit_LAYER)

unit_tests =
unit_base = src/base/libbase.la $(CHECK_LIBS)
unit_arena = src/arena/libarena.la $(unit_base)
unit_stack = src/stack/libstack.la $(unit_arena)
unit_proto = src/proto/libproto.la $(unit_base)
unit_lib = src/lib/libxtcpcore.la $(unit_proto)
unit_run = src/run/libruncore.la $(unit_base)
unit_daemon = $(daemon_libs) $(CHECK_LIBS)
unit_tools = src/tools/libswarm.la $(unit_base)

# --- base

unit_tests += tests/unit/base/test_bitmap
tests_unit_base_test_bitmap_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_bytes
tests_unit_base_test_bytes_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_cursor
tests_unit_base_test_cursor_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_histogram
tests_unit_base_test_histogram_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_log
tests_unit_base_test_log_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_ring
tests_unit_base_test_ring_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_seq
tests_unit_base_test_seq_LDADD = $(unit_base)

unit_tests += tests/unit/base/test_siphash
tests_unit_base_test_siphash_LDADD = $(unit_base)

# --- arena

unit_tests += tests/unit/arena/test_recover
tests_unit_arena_test_recover_LDADD = $(unit_arena)
unit_tests += tests/unit/arena/test_shard
tests_unit_arena_test_shard_LDADD = $(unit_arena)

unit_tests += tests/unit/arena/test_chunks
tests_unit_arena_test_chunks_LDADD = $(unit_arena)

unit_tests += tests/unit/arena/test_sent
tests_unit_arena_test_sent_LDADD = $(unit_arena)

unit_tests += tests/unit/arena/test_wheel
tests_unit_arena_test_wheel_LDADD = $(unit_arena)

# --- stack

unit_tests += tests/unit/stack/test_cc
tests_unit_stack_test_cc_SOURCES = tests/unit/stack/test_cc.c \
	tests/unit/stack/flow.h
tests_unit_stack_test_cc_LDADD = $(unit_stack) -lm

unit_tests += tests/unit/stack/test_cc_cubic
tests_unit_stack_test_cc_cubic_SOURCES = tests/unit/stack/test_cc_cubic.c \
	tests/unit/stack/flow.h
tests_unit_stack_test_cc_cubic_LDADD = $(unit_stack) -lm

unit_tests += tests/unit/stack/test_cc_hystart
tests_unit_stack_test_cc_hystart_SOURCES = tests/unit/stack/test_cc_hystart.c \
	tests/unit/stack/flow.h
tests_unit_stack_test_cc_hystart_LDADD = $(unit_stack) -lm

unit_tests += tests/unit/stack/test_flows
tests_unit_stack_test_flows_SOURCES = tests/unit/stack/test_flows.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_flows_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_input
tests_unit_stack_test_input_SOURCES = tests/unit/stack/test_input.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_input_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_listen
tests_unit_stack_test_listen_SOURCES = tests/unit/stack/test_listen.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_listen_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_close
tests_unit_stack_test_close_SOURCES = tests/unit/stack/test_close.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_close_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_recovery
tests_unit_stack_test_recovery_SOURCES = tests/unit/stack/test_recovery.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_recovery_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_sack
tests_unit_stack_test_sack_SOURCES = tests/unit/stack/test_sack.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_sack_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_rack
tests_unit_stack_test_rack_SOURCES = tests/unit/stack/test_rack.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_rack_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_undo
tests_unit_stack_test_undo_SOURCES = tests/unit/stack/test_undo.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_undo_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_prr
tests_unit_stack_test_prr_SOURCES = tests/unit/stack/test_prr.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_prr_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_ecn
tests_unit_stack_test_ecn_SOURCES = tests/unit/stack/test_ecn.c \
	tests/unit/stack/sender.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_ecn_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_random
tests_unit_stack_test_random_SOURCES = tests/unit/stack/test_random.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_random_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_window
tests_unit_stack_test_window_SOURCES = tests/unit/stack/test_window.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_window_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_parts
tests_unit_stack_test_parts_SOURCES = tests/unit/stack/test_parts.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_parts_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_corners
tests_unit_stack_test_corners_SOURCES = tests/unit/stack/test_corners.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_corners_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_groups
tests_unit_stack_test_groups_SOURCES = tests/unit/stack/test_groups.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_groups_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_offload
tests_unit_stack_test_offload_SOURCES = tests/unit/stack/test_offload.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_offload_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_parse
tests_unit_stack_test_parse_SOURCES = tests/unit/stack/test_parse.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_parse_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_detail
tests_unit_stack_test_detail_SOURCES = tests/unit/stack/test_detail.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_detail_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_frag
tests_unit_stack_test_frag_SOURCES = tests/unit/stack/test_frag.c \
	tests/unit/stack/cut.h tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_frag_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_frag_hostile
tests_unit_stack_test_frag_hostile_SOURCES = \
	tests/unit/stack/test_frag_hostile.c \
	tests/unit/stack/cut.h tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_frag_hostile_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_icmp
tests_unit_stack_test_icmp_SOURCES = tests/unit/stack/test_icmp.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_icmp_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_pmtu
tests_unit_stack_test_pmtu_SOURCES = tests/unit/stack/test_pmtu.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_pmtu_LDADD = $(unit_stack)
unit_tests += tests/unit/stack/test_cookie
tests_unit_stack_test_cookie_SOURCES = tests/unit/stack/test_cookie.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_cookie_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_guard
tests_unit_stack_test_guard_SOURCES = tests/unit/stack/test_guard.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_guard_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_recover
tests_unit_stack_test_recover_SOURCES = tests/unit/stack/test_recover.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_recover_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_recover_torn
tests_unit_stack_test_recover_torn_SOURCES = \
	tests/unit/stack/test_recover_torn.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_recover_torn_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_share
tests_unit_stack_test_share_SOURCES = tests/unit/stack/test_share.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_share_LDADD = $(unit_stack)

unit_tests += tests/unit/stack/test_tolerance
tests_unit_stack_test_tolerance_SOURCES = tests/unit/stack/test_tolerance.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_stack_test_tolerance_LDADD = $(unit_stack)

# --- proto

unit_tests += tests/unit/proto/test_addr
tests_unit_proto_test_addr_LDADD = $(unit_proto)

unit_tests += tests/unit/proto/test_control
tests_unit_proto_test_control_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
tests_unit_proto_test_control_LDADD = src/proto/libcontrol.la $(unit_base)

unit_tests += tests/unit/proto/test_frame
tests_unit_proto_test_frame_LDADD = $(unit_proto)

unit_tests += tests/unit/proto/test_stream
tests_unit_proto_test_stream_LDADD = $(unit_proto)

unit_tests += tests/unit/proto/test_vectors
tests_unit_proto_test_vectors_LDADD = $(unit_proto)

# --- ctl

unit_tests += tests/unit/ctl/test_top
tests_unit_ctl_test_top_LDADD = $(ctl_libs) $(CHECK_LIBS)

unit_tests += tests/unit/ctl/test_pcapng
tests_unit_ctl_test_pcapng_LDADD = $(ctl_libs) $(CHECK_LIBS)

# --- daemon

unit_tests += tests/unit/daemon/test_attach
tests_unit_daemon_test_attach_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_mailbox
tests_unit_daemon_test_mailbox_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_handover
tests_unit_daemon_test_handover_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_tun_steer
tests_unit_daemon_test_tun_steer_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_conf_listen
tests_unit_daemon_test_conf_listen_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_neigh_announce
tests_unit_daemon_test_neigh_announce_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_nft_rules
tests_unit_daemon_test_nft_rules_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_worker
tests_unit_daemon_test_worker_SOURCES = tests/unit/daemon/test_worker.c \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_worker_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_groups
tests_unit_daemon_test_groups_SOURCES = tests/unit/daemon/test_groups.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_groups_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_hostile
tests_unit_daemon_test_hostile_SOURCES = tests/unit/daemon/test_hostile.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_hostile_LDADD = $(unit_daemon)

unit_plain = tests/unit/daemon/server.c tests/unit/daemon/server.h \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h

unit_tests += tests/unit/daemon/test_plain
tests_unit_daemon_test_plain_SOURCES = tests/unit/daemon/test_plain.c \
	$(unit_plain)
tests_unit_daemon_test_plain_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_plain_flow
tests_unit_daemon_test_plain_flow_SOURCES = \
	tests/unit/daemon/test_plain_flow.c $(unit_plain)
tests_unit_daemon_test_plain_flow_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_plain_random
tests_unit_daemon_test_plain_random_SOURCES = \
	tests/unit/daemon/test_plain_random.c $(unit_plain)
tests_unit_daemon_test_plain_random_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_plain_proxy
tests_unit_daemon_test_plain_proxy_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_hung
tests_unit_daemon_test_hung_SOURCES = tests/unit/daemon/test_hung.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_hung_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_latency
tests_unit_daemon_test_latency_SOURCES = tests/unit/daemon/test_latency.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_latency_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_bulk
tests_unit_daemon_test_bulk_SOURCES = tests/unit/daemon/test_bulk.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_bulk_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_reset_all
tests_unit_daemon_test_reset_all_SOURCES = tests/unit/daemon/test_reset_all.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_reset_all_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_loss
tests_unit_daemon_test_loss_SOURCES = tests/unit/daemon/test_loss.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_loss_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_resume
tests_unit_daemon_test_resume_SOURCES = tests/unit/daemon/test_resume.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_resume_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_regress
tests_unit_daemon_test_regress_SOURCES = tests/unit/daemon/test_regress.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_regress_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_random
tests_unit_daemon_test_random_SOURCES = tests/unit/daemon/test_random.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_random_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_registry
tests_unit_daemon_test_registry_SOURCES = tests/unit/daemon/test_registry.c \
	tests/unit/daemon/peer.c tests/unit/daemon/peer.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_registry_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_listener
tests_unit_daemon_test_listener_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_budget
tests_unit_daemon_test_budget_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_conf
tests_unit_daemon_test_conf_SOURCES = tests/unit/daemon/test_conf.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_conf_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_conf_types
tests_unit_daemon_test_conf_types_SOURCES = \
	tests/unit/daemon/test_conf_types.c tests/unit/daemon/scratch.h
tests_unit_daemon_test_conf_types_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_control
tests_unit_daemon_test_control_SOURCES = tests/unit/daemon/test_control.c \
	tests/unit/daemon/control_rig.h tests/unit/daemon/fakeview.h \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_control_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_control_clients
tests_unit_daemon_test_control_clients_SOURCES = \
	tests/unit/daemon/test_control_clients.c \
	tests/unit/daemon/control_rig.h tests/unit/daemon/fakeview.h \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_control_clients_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_metrics
tests_unit_daemon_test_metrics_SOURCES = tests/unit/daemon/test_metrics.c \
	tests/unit/daemon/fakeview.h
tests_unit_daemon_test_metrics_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_capture
tests_unit_daemon_test_capture_LDADD = $(unit_daemon)

# libpcap's interpreter is the second opinion.
unit_tests += tests/unit/daemon/test_filter
tests_unit_daemon_test_filter_LDADD = $(unit_daemon) $(PCAP_LIBS)

unit_tests += tests/unit/daemon/test_fdstore
tests_unit_daemon_test_fdstore_SOURCES = tests/unit/daemon/test_fdstore.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_fdstore_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_keeper
tests_unit_daemon_test_keeper_SOURCES = tests/unit/daemon/test_keeper.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_keeper_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_notify
tests_unit_daemon_test_notify_SOURCES = tests/unit/daemon/test_notify.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_notify_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_pcap
tests_unit_daemon_test_pcap_SOURCES = tests/unit/daemon/test_pcap.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_pcap_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_supervise
tests_unit_daemon_test_supervise_SOURCES = \
	tests/unit/daemon/test_supervise.c tests/unit/daemon/scratch.h
tests_unit_daemon_test_supervise_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_sandbox
tests_unit_daemon_test_sandbox_SOURCES = tests/unit/daemon/test_sandbox.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_sandbox_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_gso_split
tests_unit_daemon_test_gso_split_SOURCES = \
	tests/unit/daemon/test_gso_split.c tests/unit/daemon/packets.h \
	tests/unit/stack/rig.c tests/unit/stack/rig.h
tests_unit_daemon_test_gso_split_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_tun_io
tests_unit_daemon_test_tun_io_SOURCES = tests/unit/daemon/test_tun_io.c \
	tests/unit/daemon/gso.h tests/unit/daemon/packets.h \
	tests/unit/daemon/queue.h
tests_unit_daemon_test_tun_io_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_tun_read
tests_unit_daemon_test_tun_read_SOURCES = tests/unit/daemon/test_tun_read.c \
	tests/unit/daemon/queue.h
tests_unit_daemon_test_tun_read_LDADD = $(unit_daemon)

unit_tests += tests/unit/daemon/test_statedir
tests_unit_daemon_test_statedir_SOURCES = tests/unit/daemon/test_statedir.c \
	tests/unit/daemon/scratch.h
tests_unit_daemon_test_statedir_LDADD = $(unit_daemon)

# --- lib

# The daemon's side of the frames, played by the test.
unit_fake = tests/unit/lib/fake.c tests/unit/lib/fake.h

unit_tests += tests/unit/lib/test_conn
tests_unit_lib_test_conn_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_group
tests_unit_lib_test_group_SOURCES = $(unit_fake) tests/unit/lib/test_group.c
tests_unit_lib_test_group_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_credit
tests_unit_lib_test_credit_SOURCES = $(unit_fake) tests/unit/lib/test_credit.c
tests_unit_lib_test_credit_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_direct
tests_unit_lib_test_direct_SOURCES = $(unit_fake) tests/unit/lib/test_direct.c
tests_unit_lib_test_direct_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_hostile
tests_unit_lib_test_hostile_SOURCES = $(unit_fake) tests/unit/lib/test_hostile.c
tests_unit_lib_test_hostile_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_listen
tests_unit_lib_test_listen_SOURCES = $(unit_fake) tests/unit/lib/test_listen.c
tests_unit_lib_test_listen_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_once
tests_unit_lib_test_once_SOURCES = $(unit_fake) tests/unit/lib/test_once.c
tests_unit_lib_test_once_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_resume
tests_unit_lib_test_resume_SOURCES = $(unit_fake) tests/unit/lib/test_resume.c
tests_unit_lib_test_resume_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_local
tests_unit_lib_test_local_SOURCES = $(unit_fake) tests/unit/lib/test_local.c
tests_unit_lib_test_local_LDADD = $(unit_lib)

unit_tests += tests/unit/lib/test_select
tests_unit_lib_test_select_SOURCES = $(unit_fake) tests/unit/lib/test_select.c
tests_unit_lib_test_select_LDADD = $(unit_lib)

# --- run

unit_tests += tests/unit/run/test_elf
tests_unit_run_test_elf_LDADD = $(unit_run)

unit_tests += tests/unit/run/test_interest
tests_unit_run_test_interest_LDADD = $(unit_run)

unit_tests += tests/unit/run/test_options
tests_unit_run_test_options_LDADD = $(unit_run)

# --- tools

unit_tests += tests/unit/tools/test_swarm_conn
tests_unit_tools_test_swarm_conn_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_pattern
tests_unit_tools_test_pattern_SOURCES = \
	tests/unit/tools/test_pattern.c tests/tools/pattern.h
tests_unit_tools_test_pattern_LDADD = $(unit_base)

unit_tests += tests/unit/tools/test_swarm_hist
tests_unit_tools_test_swarm_hist_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_swarm_input
tests_unit_tools_test_swarm_input_SOURCES = \
	tests/unit/tools/test_swarm_input.c \
	tests/unit/tools/rig.h tests/unit/tools/server.h
tests_unit_tools_test_swarm_input_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_swarm_pace
tests_unit_tools_test_swarm_pace_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_swarm_packet
tests_unit_tools_test_swarm_packet_SOURCES = \
	tests/unit/tools/test_swarm_packet.c tests/unit/tools/server.h
tests_unit_tools_test_swarm_packet_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_swarm_tcp
tests_unit_tools_test_swarm_tcp_SOURCES = \
	tests/unit/tools/test_swarm_tcp.c \
	tests/unit/tools/rig.h tests/unit/tools/server.h
tests_unit_tools_test_swarm_tcp_LDADD = $(unit_tools)

unit_tests += tests/unit/tools/test_swarm_tuple
tests_unit_tools_test_swarm_tuple_LDADD = $(unit_tools)

# -----------------------------------------------------------------------

# For tests/run, which may want some of them only.
print-unit-tests:
	@printf '%s\n' $(unit_tests)

print-check-programs:
	@printf '%s\n' $(check_PROGRAMS)

.PHONY: print-unit-tests print-check-programs

AM_TESTS_ENVIRONMENT = \
	CK_VERBOSITY=$${CK_VERBOSITY:-normal}; export CK_VERBOSITY; \
	XTCP_BUILD=$(abs_builddir); export XTCP_BUILD;

# For tests/net/test_tun.py.
check_PROGRAMS += tests/net/tun_probe
tests_net_tun_probe_LDADD = $(daemon_libs)

EXTRA_DIST += \
	tests/net/test_packages.py \
	tests/net/chatters.py \
	tests/net/test_bindings.py \
	tests/net/test_bindings_alone.py \
	tests/net/test_dissector.py \
	tests/net/guide.py \
	tests/net/test_guide.py \
	tests/net/test_readme.py \
	tests/net/test_takeover.py \
	tests/net/test_sandbox.py \
	tests/net/test_tun.py \
	tests/net/test_xtcpctl.py \
	tests/unit/unit.h \
	tests/vectors/frames.txt \
	tests/run \
	tests/lint/run

if HAVE_CHECK
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
else
EXTRA_PROGRAMS = $(unit_tests)
check-local:
	@echo "make check: the library check is missing: install the Debian" \
		"package check, then run configure again" >&2; exit 1
endif

include tests/tools/local.mk
include tests/fuzz/local.mk
include tests/kill/local.mk
include tests/sim/local.mk
