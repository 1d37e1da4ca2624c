# SPDX-License-Identifier: BSD-2-Clause

# The man pages: xtcpd.8 xtcpd.conf.5 xtcpctl.1 xtcp-frame.7 libxtcp.3
# xtcp-echod.1 xtcp-run.1 xtcp-swarm.1, each in this folder.
dist_man_MANS +=
dist_man_MANS += man/xtcpctl.1 man/xtcpd.8 man/xtcpd.conf.5
dist_man_MANS += man/libxtcp.3 man/xtcp-echod.1 man/xtcp-frame.7
dist_man_MANS += man/xtcp-run.1 man/xtcp-swarm.1

# Calls that libxtcp.3 documents, each a link to it. The .3 is added below.
man3_aliases = \
	xtcp_abort \
	xtcp_accept \
	xtcp_close \
	xtcp_close_group \
	xtcp_cork \
	xtcp_ctx_free \
	xtcp_ctx_new \
	xtcp_finalize \
	xtcp_flush \
	xtcp_initialize \
	xtcp_listen_group \
	xtcp_open_group \
	xtcp_pars \
	xtcp_pars6 \
	xtcp_poll \
	xtcp_recv \
	xtcp_recv_from \
	xtcp_reject \
	xtcp_room \
	xtcp_select \
	xtcp_send \
	xtcp_shutdown

INSTALL_DATA_TARGETS += install-man3-aliases
UNINSTALL_TARGETS += uninstall-man3-aliases

install-man3-aliases: install-man
	@for alias in $(man3_aliases); do \
		$(MKDIR_P) "$(DESTDIR)$(man3dir)" && \
		rm -f "$(DESTDIR)$(man3dir)/$$alias.3" && \
		$(LN_S) libxtcp.3 "$(DESTDIR)$(man3dir)/$$alias.3" || exit 1; \
	done

uninstall-man3-aliases:
	@for alias in $(man3_aliases); do \
		rm -f "$(DESTDIR)$(man3dir)/$$alias.3"; \
	done

.PHONY: install-man3-aliases uninstall-man3-aliases
