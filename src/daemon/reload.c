/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload - another configuration comes into force while xtcpd runs.
 *
 * Theory of operation
 *
 *	read and check the file            conf.c
 *	what can't change stays            conf_keep()
 *	numbers, memory, mailboxes         registry_plan_new()
 *	routes to new addresses            undone when one of them fails
 *	ports of the host's addresses      all at one stroke
 *	-------- nothing fails from here on --------
 *	workers                            registry_plan_commit()
 *	old routes go
 *
 * Sockets need a restart, as the sandbox opens no new ones.
 *
 * So a file that is wrong, or asks for what can't be, changes nothing. What
 * the outcome is goes to whoever asked and to the log, line by line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/conf_load.h"
#include "daemon/daemon.h"
#include "daemon/neigh_proxy.h"
#include "daemon/ownport.h"
#include "daemon/registry_plan.h"
#include "daemon/tun.h"

struct reload {
	struct daemon *d;
	struct conf *wanted;
	conf_report report;
	void *arg;
	/* What changes: said when it has. */
	FILE *changes;
	char *text;
	size_t bytes;
	struct registry_plan *plan;
	uint32_t n_routed; /* addresses of wanted that were looked at */
};

static void reload_on_problem(void *arg, const char *line)
{
	struct reload *r = arg;

	log_error("reload: %s", line);
	r->report(r->arg, line);
}

static void reload_on_change(void *arg, const char *line)
{
	struct reload *r = arg;

	fprintf(r->changes, "%s\n", line);
}

static void reload_say_changes(struct reload *r)
{
	char *line, *rest = r->text;

	while ((line = strsep(&rest, "\n"))) {
		if (!line[0])
			continue;
		log_info("reload: %s", line);
		r->report(r->arg, line);
	}
}

/* More connections than the arena has records for: that waits for another. */
static void reload_fit_arena(struct reload *r)
{
	const struct arena_header *header = r->d->arena.header;
	uint32_t running = r->d->conf->max_connections;
	uint32_t *wanted = &r->wanted->max_connections;

	if (*wanted == running ||
	    arena_recs_per_shard(*wanted, header->workers) <=
		    header->recs_per_shard)
		return;
	fprintf(r->changes,
		"max-connections %u -> %u: needs a restart with a new arena: "
		"stop xtcpd, then start it\n",
		running, *wanted);
	*wanted = running;
}

static int reload_compare(struct reload *r)
{
	r->changes = open_memstream(&r->text, &r->bytes);
	if (!r->changes)
		return -ENOMEM;
	reload_fit_arena(r);
	conf_diff(r->d->conf, r->wanted, reload_on_change, r);
	conf_keep(r->d->conf, r->wanted);
	return fflush(r->changes) == 0 ? 0 : -ENOMEM;
}

static int reload_route(struct reload *r)
{
	const struct conf_tun *tun = &r->wanted->tun;
	char ip[INET6_ADDRSTRLEN], text[160];

	for (; r->n_routed < tun->n_vips; r->n_routed++) {
		const struct conf_ip *vip = &tun->vips[r->n_routed];
		int err;

		if (tun->own_vips >> r->n_routed & 1 ||
		    conf_find_vip_as(&r->d->conf->tun, vip, false) >= 0)
			continue;
		err = tun_add_vip(r->d->tun, vip);
		if (err == 0)
			continue;
		conf_print_ip(vip, ip, sizeof(ip));
		snprintf(
			text, sizeof(text),
			"vip %s: cannot be routed to the tun: %s; the log says more",
			ip, strerror(-err));
		reload_on_problem(r, text);
		return err;
	}
	return 0;
}

/* Take away the routes of the first n addresses of conf that other lacks. */
static void reload_unroute(struct daemon *d, const struct conf *conf,
			   const struct conf *other, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!(conf->tun.own_vips >> i & 1) &&
		    conf_find_vip_as(&other->tun, &conf->tun.vips[i], false) <
			    0)
			tun_remove_vip(d->tun, &conf->tun.vips[i]);
}

/* Its connections would have to move from one way to the other. */
static int reload_check_kinds(struct reload *r)
{
	const struct conf_tun *was = &r->d->conf->tun, *tun = &r->wanted->tun;
	char ip[INET6_ADDRSTRLEN], text[160];

	for (uint32_t i = 0; i < tun->n_vips; i++) {
		bool own = tun->own_vips >> i & 1;

		if (conf_find_vip_as(was, &tun->vips[i], !own) < 0)
			continue;
		conf_print_ip(&tun->vips[i], ip, sizeof(ip));
		snprintf(text, sizeof(text),
			 "%s moves %s: that needs a restart", ip,
			 own ? "from vip to listen" : "from listen to vip");
		reload_on_problem(r, text);
		return -EBUSY;
	}
	return 0;
}

static int reload_prepare(struct reload *r)
{
	struct stack_limits limits;
	int err = reload_compare(r);

	if (err < 0) {
		reload_on_problem(r, "not enough memory");
		return err;
	}
	daemon_limits(r->d, r->wanted, &limits);
	err = reload_check_kinds(r);
	if (err < 0)
		return err;
	err = registry_plan_new(&r->plan, &r->d->registry, r->wanted, &limits,
				reload_on_problem, r);
	if (!err)
		err = reload_route(r);
	if (!err)
		err = ownport_change(r->d->ownport, r->wanted,
				     reload_on_problem, r);
	return err;
}

static void reload_undo(struct reload *r)
{
	reload_unroute(r->d, r->wanted, r->d->conf, r->n_routed);
	registry_plan_free(r->plan);
	conf_free(r->wanted);
	log_error("reload: the configuration is as it was");
}

static void reload_commit(struct reload *r)
{
	struct daemon *d = r->d;
	struct conf *old = d->conf;

	registry_plan_commit(r->plan);
	d->conf = r->wanted;
	reload_unroute(d, old, d->conf, old->tun.n_vips);
	neigh_proxy_change(d->neigh_proxy, &d->conf->tun);
	conf_free(old);
	reload_say_changes(r);
	log_info("configuration reloaded from %s", d->options.conf_path);
}

int daemon_reload(struct daemon *d, conf_report report, void *arg)
{
	struct reload r = { .d = d, .report = report, .arg = arg };
	int err = -EINVAL;

	r.wanted = conf_load(d->options.conf_path, reload_on_problem, &r);
	if (r.wanted)
		err = reload_prepare(&r);
	if (!err)
		reload_commit(&r);
	else if (r.wanted)
		reload_undo(&r);
	else
		log_error("reload: the configuration is as it was");
	if (r.changes)
		fclose(r.changes);
	free(r.text);
	return err < 0 ? err : 0;
}
