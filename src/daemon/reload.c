/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/daemon.h"

/*
 * A group's id is its place in the file, and records name it: so what is there
 * must stay where it is, and new groups and pools come last.
 */
static bool reload_keeps_places(const struct conf *running,
				const struct conf *wanted, conf_report report,
				void *arg)
{
	bool ok = wanted->n_groups >= running->n_groups &&
		  wanted->n_pools >= running->n_pools;

	/* The groups' masks number the addresses as the device has them. */
	if (wanted->tun.n_vips != running->tun.n_vips ||
	    memcmp(wanted->tun.vips, running->tun.vips,
		   running->tun.n_vips * sizeof(running->tun.vips[0])) != 0) {
		report(arg, "vip: changing the addresses of the tun needs a "
			    "restart; nothing was changed");
		return false;
	}

	for (uint32_t i = 0; ok && i < running->n_pools; i++)
		ok = strcmp(running->pools[i].name, wanted->pools[i].name) == 0;
	for (uint32_t i = 0; ok && i < running->n_groups; i++)
		ok = strcmp(running->groups[i].name, wanted->groups[i].name) ==
			     0 &&
		     running->groups[i].port == wanted->groups[i].port;
	if (!ok)
		report(arg,
		       "groups and pools: removing, renaming, moving, or adding before the "
		       "last one needs a restart; nothing was changed");
	return ok;
}

/* What needs a restart stays as it runs. */
static void reload_keep(const struct conf *running, struct conf *wanted)
{
	wanted->max_connections = running->max_connections;
	wanted->workers = running->workers;
	wanted->transmit_buffer_bytes = running->transmit_buffer_bytes;
	wanted->half_open_max = running->half_open_max;
	wanted->half_open_per_source = running->half_open_per_source;
	wanted->syn_cookies = running->syn_cookies;
	wanted->syn_cookies_above = running->syn_cookies_above;
	memcpy(wanted->state_dir, running->state_dir,
	       sizeof(wanted->state_dir));
	wanted->tun = running->tun;
	wanted->control = running->control;
	wanted->attach = running->attach;
	wanted->has_metrics = running->has_metrics;
	wanted->metrics_addr = running->metrics_addr;
	for (uint32_t i = 0; i < running->n_pools; i++)
		wanted->pools[i].receive_buffer_bytes =
			running->pools[i].receive_buffer_bytes;
	for (uint32_t i = 0; i < running->n_groups; i++)
		wanted->groups[i].pool = running->groups[i].pool;
}

int daemon_reload(struct daemon *d, conf_report report, void *arg)
{
	struct conf *wanted = conf_load(d->options.conf_path, report, arg);
	struct conf *old = d->conf;
	int err;

	if (!wanted)
		return -EINVAL;
	conf_needs_restart(old, wanted, report, arg);
	if (!reload_keeps_places(old, wanted, report, arg)) {
		conf_free(wanted);
		return 0;
	}
	reload_keep(old, wanted);
	err = registry_apply(&d->registry, wanted);
	if (err < 0)
		report(arg, "a worker is too far behind: try again");
	d->conf = wanted;
	conf_free(old);
	log_info("configuration reloaded from %s", d->options.conf_path);
	return err;
}
