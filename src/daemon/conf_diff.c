/* SPDX-License-Identifier: BSD-2-Clause */
/* conf_diff - what a reload cannot change. */
#include "daemon/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/conf_load.h"

struct conf_diff {
	conf_report report;
	void *arg;
	unsigned int n;
};

__attribute__((format(printf, 2, 3))) static void
conf_differs(struct conf_diff *d, const char *fmt, ...)
{
	char text[CONF_LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->report(d->arg, text);
	d->n++;
}

static bool conf_same_value(const struct conf_key *key, const void *a,
			    const void *b)
{
	const struct conf_tun *x, *y;

	switch (key->type) {
	case CONF_T_PATH:
	case CONF_T_STREAM:
		return strcmp(a, b) == 0;
	case CONF_T_VIPS:
		x = container_of(a, struct conf_tun, vips);
		y = container_of(b, struct conf_tun, vips);
		return x->n_vips == y->n_vips &&
		       memcmp(x->vips, y->vips,
			      x->n_vips * sizeof(x->vips[0])) == 0;
	default:
		return memcmp(a, b, conf_value_bytes(key)) == 0;
	}
}

/* The keys of one section; name: its title, or NULL. */
static void conf_diff_section(struct conf_diff *d, enum conf_section section,
			      const char *name, const void *a, const void *b)
{
	const struct conf_key *key;

	for (size_t i = 0; i < conf_n_keys; i++) {
		key = &conf_keys[i];
		if (key->section != section || key->reload ||
		    conf_same_value(key, (const char *)a + key->offset,
				    (const char *)b + key->offset))
			continue;
		if (name)
			conf_differs(d, "%s \"%s\": %s: needs a restart",
				     conf_section_name(section), name,
				     key->name);
		else
			conf_differs(d, "%s%s%s: needs a restart",
				     conf_section_name(section),
				     section == CONF_SEC_TOP ? "" : ": ",
				     key->name);
	}
}

static void conf_diff_pools(struct conf_diff *d, const struct conf *a,
			    const struct conf *b)
{
	if (a->n_pools != b->n_pools)
		conf_differs(d,
			     "pool: %u instead of %u of them: needs a restart",
			     b->n_pools, a->n_pools);
	for (uint32_t i = 0; i < min_u32(a->n_pools, b->n_pools); i++) {
		if (strcmp(a->pools[i].name, b->pools[i].name) != 0)
			conf_differs(
				d,
				"pool \"%s\" where \"%s\" was: needs a restart",
				b->pools[i].name, a->pools[i].name);
		else
			conf_diff_section(d, CONF_SEC_POOL, a->pools[i].name,
					  &a->pools[i], &b->pools[i]);
	}
}

/* A group's place is its id, by which the records in the arena know it. */
static void conf_diff_groups(struct conf_diff *d, const struct conf *a,
			     const struct conf *b)
{
	const struct conf_group *x, *y;

	for (uint32_t i = 0; i < min_u32(a->n_groups, b->n_groups); i++) {
		x = &a->groups[i];
		y = &b->groups[i];
		if (strcmp(x->name, y->name) != 0) {
			conf_differs(
				d,
				"group \"%s\" where \"%s\" was: needs a restart "
				"(a new group goes behind the last one)",
				y->name, x->name);
			continue;
		}
		if (x->pool != y->pool)
			conf_differs(
				d,
				"group \"%s\": another pool: needs a restart",
				x->name);
		conf_diff_section(d, CONF_SEC_GROUP, x->name, x, y);
	}
}

unsigned conf_needs_restart(const struct conf *running,
			    const struct conf *wanted, conf_report report,
			    void *arg)
{
	struct conf_diff d = { .report = report, .arg = arg };

	conf_diff_section(&d, CONF_SEC_TOP, NULL, running, wanted);
	if (strcmp(running->tun.name, wanted->tun.name) != 0)
		conf_differs(&d, "tun \"%s\": another name: needs a restart",
			     wanted->tun.name);
	conf_diff_section(&d, CONF_SEC_TUN, running->tun.name, &running->tun,
			  &wanted->tun);
	conf_diff_section(&d, CONF_SEC_CONTROL, NULL, &running->control,
			  &wanted->control);
	conf_diff_section(&d, CONF_SEC_ATTACH, NULL, &running->attach,
			  &wanted->attach);
	if (running->has_metrics != wanted->has_metrics)
		conf_differs(&d, "metrics: needs a restart");
	else
		conf_diff_section(&d, CONF_SEC_METRICS, NULL, running, wanted);
	conf_diff_pools(&d, running, wanted);
	conf_diff_groups(&d, running, wanted);
	return d.n;
}
