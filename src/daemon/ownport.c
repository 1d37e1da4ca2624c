/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ownport - takes ports of the host's own addresses over, and gives them back.
 *
 * Theory of operation
 *
 *	eth0 ── ingress hook ── one of our ports? ──> xtcp0 ── worker
 *	             │ all else                          │ reply, source: the host's
 *	             v                                   v
 *	        prerouting ── one of our ports? ──>   prerouting: not tracked
 *	             │         dropped                   │
 *	             v                                   v
 *	        the kernel's TCP, ssh, ...            forwarded by its destination
 *
 * The rules are nf_tables', in nft_rules.c. Nothing tracks connections, and no
 * route or rule of the host is touched. The device takes packets whose source
 * is an address of this host (accept_local), and forwards them.
 *
 * They are made of two kinds, like routes and blackholes (tun.c):
 *
 *	ways	divert, and belong to the socket that made them. They go with
 *		its last descriptor, and survive "nft flush ruleset". A
 *		descriptor store keeps the socket with the queues of the device:
 *		both go together, after a final stop that we never see
 *	guard	drops the same packets. It stays until it is deleted, so that
 *		after a crash without a store the kernel does not answer our
 *		clients with RSTs. There is none with a store
 *
 * Whoever the state directory belongs to is the owner of both: its path is
 * their comment. All of them are always replaced together, in one transaction.
 *
 * The hook goes with its interface, and has to be made anew when one of that
 * name comes again; until then the drop at prerouting, which goes by name, is
 * there. The guard may go with a "nft flush ruleset", such as Debian's
 * nftables.service does at each start. Both are looked after every few seconds.
 */
#include "daemon/ownport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/netlink.h"
#include "daemon/nft.h"
#include "daemon/ownport_check.h"
#include "daemon/sysctl.h"

/* Tables that divert; that of the guard is one more. */
#define OWNPORT_WAYS 2

struct ownport {
	struct conf_tun conf;
	struct tun *tun;
	struct nft *nft; /* NULL: no ports, now or at the start */
	struct netlink *nl;
	char comment[NFT_COMMENT_MAX];
	char stored[FDSTORE_NAME_MAX + 1]; /* name in a store */
	bool kept; /* it has the socket */
	int links[CONF_OWN_MAX]; /* index of the interface of conf.own[i] */
};

static void ownport_log_problem(void *arg, const char *line)
{
	(void)arg;
	log_error("%s", line);
}

static const char *ownport_why(int rc)
{
	switch (rc) {
	case -EPERM:
		return "xtcpd needs CAP_NET_ADMIN, or another process has its "
		       "tables, see nft list tables";
	case -EEXIST:
		return "a table of our name is somebody else's, see nft list "
		       "tables";
	case -ENOENT:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -EPROTONOSUPPORT:
		return "it takes Linux 5.12 with nf_tables and its modules "
		       "nft_fwd_netdev and nft_ct";
	default:
		return "see nft list tables";
	}
}

/* --- the rules --------------------------------------------------------- */

static int ownport_replace(struct ownport *op, const struct conf_tun *tun,
			   bool ways, bool guard)
{
	const struct nft_rules rules = {
		.device = tun->name,
		.device_index = (uint32_t)tun_index(op->tun),
		.comment = op->comment,
		.own = tun->own,
		.n_own = tun->n_own,
	};

	return nft_replace(op->nft, &rules, ways && tun->n_own > 0,
			   guard && tun->n_own > 0);
}

static int ownport_link_index(struct ownport *op, const char *name)
{
	struct netlink_link link;

	return netlink_link_get(op->nl, name, &link) == 0 ? link.index : 0;
}

static void ownport_note(struct ownport *op, const struct conf_tun *tun)
{
	op->conf = *tun;
	for (uint32_t i = 0; i < tun->n_own; i++)
		op->links[i] = ownport_link_index(op, tun->own[i].link);
}

/* Replies come in from the device, in each family that there is. */
static int ownport_prepare_device(struct ownport *op,
				  const struct conf_tun *tun)
{
	int rc = 0;

	for (uint32_t i = 0; i < tun->n_own && rc == 0; i++) {
		if (tun->own[i].ip.family == 6)
			rc = tun_want_ipv6(op->tun);
		else
			rc = sysctl_link_set("ipv4", tun->name, "accept_local",
					     '1');
	}
	return rc;
}

static int ownport_apply(struct ownport *op, const struct conf_tun *tun,
			 bool guard, conf_report report, void *arg)
{
	char text[256];
	int rc = ownport_prepare_device(op, tun);

	if (rc == 0)
		rc = ownport_check(op->nl, tun, report, arg);
	if (rc < 0)
		return rc;
	rc = ownport_replace(op, tun, true, guard);
	if (rc == 0)
		return 0;
	snprintf(text, sizeof(text),
		 "listen: rules for its ports cannot be made: %s: %s",
		 strerror(-rc), ownport_why(rc));
	report(arg, text);
	return rc;
}

/* --- open -------------------------------------------------------------- */

/* The socket of an earlier process, with its tables, or a new one. */
static int ownport_open_socket(struct ownport *op, struct fdstore *store)
{
	int fd = fdstore_take(store, op->stored);
	int rc;

	if (fd >= 0) {
		rc = nft_open(&op->nft, fd);
		op->kept = rc == 0;
		if (rc == 0)
			return 0;
		log_warn("descriptor \"%s\" is not taken over: %s", op->stored,
			 strerror(-rc));
		close(fd);
		fdstore_remove(op->stored);
	}
	rc = nft_open(&op->nft, -1);
	if (rc == 0 && store && op->conf.n_own > 0)
		op->kept = fdstore_put(op->stored, nft_fd(op->nft)) == 0;
	return rc;
}

/* Routes of when an address was no address of the host. */
static void ownport_forget_routes(struct ownport *op)
{
	for (uint32_t i = 0; i < op->conf.n_vips; i++)
		if (op->conf.own_vips >> i & 1)
			tun_forget_vip(op->tun, &op->conf.vips[i]);
}

static int ownport_start(struct ownport *op)
{
	int rc = ownport_apply(op, &op->conf, true, ownport_log_problem, NULL);

	if (rc < 0)
		return rc;
	ownport_forget_routes(op);
	ownport_note(op, &op->conf);
	ownport_warn(op->nl, &op->conf, NULL);
	log_info("listen: %u ports of this host's own addresses are taken over",
		 op->conf.n_own);
	return 0;
}

int ownport_open(struct ownport **ret_op, const struct conf *conf,
		 struct tun *tun, struct fdstore *store)
{
	struct ownport *op = calloc(1, sizeof(*op));
	int rc;

	if (!op)
		return -ENOMEM;
	op->conf = conf->tun;
	op->tun = tun;
	snprintf(op->comment, sizeof(op->comment), "xtcpd %s", conf->state_dir);
	snprintf(op->stored, sizeof(op->stored), "ports-%s", conf->tun.name);
	rc = netlink_open(&op->nl);
	if (rc == 0)
		rc = ownport_open_socket(op, store);
	if (rc < 0 && op->conf.n_own > 0)
		log_error("listen: nf_tables: %s: %s", strerror(-rc),
			  ownport_why(rc));
	if (op->conf.n_own == 0)
		rc = 0; /* nothing that could have been left */
	else if (rc == 0)
		rc = ownport_start(op);
	if (rc < 0) {
		ownport_keep(op);
		return rc;
	}
	*ret_op = op;
	return 0;
}

/* --- at run time ------------------------------------------------------- */

void ownport_settle(struct ownport *op)
{
	if (!op || !op->nft)
		return;
	if (op->conf.n_own > 0) {
		if (op->kept)
			(void)ownport_replace(op, &op->conf, true, false);
		return;
	}
	(void)ownport_replace(op, &op->conf, false, false);
	if (op->kept)
		fdstore_remove(op->stored);
	nft_close(op->nft);
	op->nft = NULL;
}

int ownport_change(struct ownport *op, const struct conf *conf,
		   conf_report report, void *arg)
{
	const struct conf_tun *tun = &conf->tun;
	int rc;

	if (!op || (!op->nft && tun->n_own == 0))
		return 0;
	if (!op->nft) {
		report(arg, "listen: the first section of this kind needs a "
			    "restart");
		return -EOPNOTSUPP;
	}
	rc = ownport_apply(op, tun, !op->kept, report, arg);
	if (rc < 0)
		return rc;
	ownport_warn(op->nl, tun, &op->conf);
	ownport_note(op, tun);
	return 0;
}

/* The interface that is another one now than when its hook was made. */
static const char *ownport_link_back(struct ownport *op)
{
	const char *back = NULL;

	for (uint32_t i = 0; i < op->conf.n_own; i++) {
		int index = ownport_link_index(op, op->conf.own[i].link);

		if (index > 0 && index != op->links[i])
			back = op->conf.own[i].link;
		op->links[i] = index;
	}
	return back;
}

void ownport_tick(struct ownport *op)
{
	const char *back;
	int n;

	if (!op || !op->nft || op->conf.n_own == 0)
		return;
	back = ownport_link_back(op);
	n = nft_count(op->nft, op->comment);
	if (!back && (n < 0 || n == OWNPORT_WAYS + !op->kept))
		return;
	if (back)
		log_info("listen \"%s\": the interface is there again", back);
	else
		log_info("listen: somebody deleted the table that guards its "
			 "ports: made again");
	if (ownport_replace(op, &op->conf, true, !op->kept) < 0)
		log_error("listen: its rules cannot be made again");
}

/* --- the end ----------------------------------------------------------- */

void ownport_keep(struct ownport *op)
{
	if (!op)
		return;
	nft_close(op->nft);
	netlink_close(op->nl);
	free(op);
}

void ownport_leave(struct ownport *op)
{
	if (op && op->nft && op->kept)
		(void)ownport_replace(op, &op->conf, true, true);
	ownport_keep(op);
}

void ownport_close(struct ownport *op)
{
	int rc = 0;

	if (op && op->nft)
		rc = ownport_replace(op, &op->conf, false, false);
	if (rc < 0)
		log_warn("listen: its rules cannot be removed: %s",
			 strerror(-rc));
	ownport_keep(op);
}
