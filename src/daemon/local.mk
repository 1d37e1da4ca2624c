# SPDX-License-Identifier: BSD-2-Clause

# All of the daemon but main(), so that unit tests can link it.
noinst_LTLIBRARIES += src/daemon/libdaemon.la

src_daemon_libdaemon_la_SOURCES =

src_daemon_libdaemon_la_SOURCES += \
	src/daemon/attach.c \
	src/daemon/attach.h \
	src/daemon/backend.c \
	src/daemon/backend.h \
	src/daemon/balance.c \
	src/daemon/balance.h \
	src/daemon/bstream.c \
	src/daemon/bstream.h \
	src/daemon/budget.c \
	src/daemon/budget.h \
	src/daemon/capture.c \
	src/daemon/capture.h \
	src/daemon/clock.h \
	src/daemon/counters.c \
	src/daemon/counters.h \
	src/daemon/daemon.c \
	src/daemon/daemon.h \
	src/daemon/deliver.c \
	src/daemon/deliver.h \
	src/daemon/duty.h \
	src/daemon/fdstore.c \
	src/daemon/fdstore.h \
	src/daemon/filter.c \
	src/daemon/filter.h \
	src/daemon/groups.c \
	src/daemon/groups.h \
	src/daemon/groups_set.c \
	src/daemon/gso_split.c \
	src/daemon/gso_split.h \
	src/daemon/handover.c \
	src/daemon/handover.h \
	src/daemon/hello.c \
	src/daemon/hello.h \
	src/daemon/inquiry.c \
	src/daemon/inquiry.h \
	src/daemon/latency.c \
	src/daemon/latency.h \
	src/daemon/listener.c \
	src/daemon/listener.h \
	src/daemon/loss.c \
	src/daemon/loss.h \
	src/daemon/mailbox.c \
	src/daemon/mailbox.h \
	src/daemon/plain.c \
	src/daemon/plain.h \
	src/daemon/plain_link.c \
	src/daemon/plain_link.h \
	src/daemon/plain_links.c \
	src/daemon/plain_proxy.c \
	src/daemon/plain_proxy.h \
	src/daemon/registry.c \
	src/daemon/registry.h \
	src/daemon/registry_change.c \
	src/daemon/registry_change.h \
	src/daemon/registry_plan.c \
	src/daemon/registry_plan.h \
	src/daemon/reload.c \
	src/daemon/reply.c \
	src/daemon/reply.h \
	src/daemon/sandbox.c \
	src/daemon/sandbox.h \
	src/daemon/sandbox_calls.c \
	src/daemon/sandbox_fs.c \
	src/daemon/snapshot.h \
	src/daemon/snapshot_take.c \
	src/daemon/snapshot_take.h \
	src/daemon/socket.c \
	src/daemon/socket.h \
	src/daemon/statedir.c \
	src/daemon/statedir.h \
	src/daemon/takeover.c \
	src/daemon/takeover.h \
	src/daemon/tap.c \
	src/daemon/tap.h \
	src/daemon/view.c \
	src/daemon/worker.c \
	src/daemon/worker.h

src_daemon_libdaemon_la_SOURCES += \
	src/daemon/conf.c \
	src/daemon/conf.h \
	src/daemon/conf_diff.c \
	src/daemon/conf_keys.c \
	src/daemon/conf_keys.h \
	src/daemon/conf_listen.c \
	src/daemon/conf_load.h \
	src/daemon/conf_parse.c \
	src/daemon/conf_print.c \
	src/daemon/conf_report.c \
	src/daemon/conf_text.c \
	src/daemon/conf_value.c \
	src/daemon/control.c \
	src/daemon/control.h \
	src/daemon/control_capture.c \
	src/daemon/control_capture.h \
	src/daemon/control_command.c \
	src/daemon/control_command.h \
	src/daemon/journal.c \
	src/daemon/journal.h \
	src/daemon/keeper.c \
	src/daemon/keeper.h \
	src/daemon/metrics.c \
	src/daemon/metrics.h \
	src/daemon/metrics_text.c \
	src/daemon/neigh_announce.c \
	src/daemon/neigh_announce.h \
	src/daemon/neigh_proxy.c \
	src/daemon/neigh_proxy.h \
	src/daemon/netlink.c \
	src/daemon/netlink.h \
	src/daemon/nft.c \
	src/daemon/nft.h \
	src/daemon/nft_message.c \
	src/daemon/nft_message.h \
	src/daemon/nft_rules.c \
	src/daemon/nft_rules.h \
	src/daemon/notify.c \
	src/daemon/notify.h \
	src/daemon/ownport.c \
	src/daemon/ownport.h \
	src/daemon/ownport_check.c \
	src/daemon/ownport_check.h \
	src/daemon/pcap.c \
	src/daemon/pcap.h \
	src/daemon/show.c \
	src/daemon/show.h \
	src/daemon/show_conn.c \
	src/daemon/show_json.h \
	src/daemon/supervise.c \
	src/daemon/supervise.h \
	src/daemon/supervise_program.c \
	src/daemon/sysctl.c \
	src/daemon/sysctl.h \
	src/daemon/totals.c \
	src/daemon/totals.h \
	src/daemon/tun.c \
	src/daemon/tun.h \
	src/daemon/tun_routes.c \
	src/daemon/tun_routes.h \
	src/daemon/tun_io.c \
	src/daemon/tun_io.h \
	src/daemon/tun_adopt.c \
	src/daemon/tun_adopt.h \
	src/daemon/tun_steer.c \
	src/daemon/tun_steer.h

# What a program links to have the whole daemon, in the order of the layers.
daemon_libs = \
	src/daemon/libdaemon.la \
	src/stack/libstack.la \
	src/arena/libarena.la \
	src/proto/libcontrol.la \
	src/proto/libproto.la \
	src/base/libbase.la \
	$(EVENT_PTHREADS_LIBS) $(EVENT_LIBS) $(CONFUSE_LIBS) \
	$(SYSTEMD_LIBS) $(MNL_LIBS) $(JSON_C_LIBS) $(CAP_LIBS) \
	$(SECCOMP_LIBS)

sbin_PROGRAMS += xtcpd
xtcpd_SOURCES = src/daemon/main.c
xtcpd_LDFLAGS = $(whole_ldflags)
xtcpd_LDADD = $(daemon_libs)
