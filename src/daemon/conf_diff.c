/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_diff - what a reload changes, and what it cannot.
 *
 * Pools, groups and backends are compared by name, wherever they stand: a
 * file in another order is the same configuration.
 */
#include "daemon/conf.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/conf_load.h"

#define DIFF_VALUE_BYTES 160 /* the longest are addresses of backends */

struct conf_diff {
	const struct conf *a, *b;
	conf_report report;
	void *arg;
	unsigned int restarts;
};

static const char *const diff_when[] = {
	[CONF_AT_RELOAD] = "",
	[CONF_AT_RESTART] = ": needs a restart",
	[CONF_AT_NEW_ARENA] =
		": needs a restart with a new arena: stop xtcpd, then start it",
};

__attribute__((format(printf, 3, 4))) static void
diff_line(struct conf_diff *d, enum conf_apply when, const char *fmt, ...)
{
	char text[CONF_LINE_BYTES];
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	n = (size_t)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < sizeof(text))
		snprintf(text + n, sizeof(text) - n, "%s", diff_when[when]);
	d->report(d->arg, text);
	d->restarts += when != CONF_AT_RELOAD;
}

/* Do the masks name the same addresses? Each counts by its own file's list. */
static bool diff_same_vips(const struct conf_diff *d, uint64_t a, uint64_t b)
{
	uint32_t n_a = 0, n_b = 0;

	if (a == UINT64_MAX || b == UINT64_MAX)
		return a == b;
	for (uint32_t i = 0; i < d->b->tun.n_vips; i++)
		n_b += b >> i & 1;
	for (uint32_t i = 0; i < d->a->tun.n_vips; i++) {
		int at = conf_find_vip(&d->b->tun, &d->a->tun.vips[i]);

		if (!(a >> i & 1))
			continue;
		n_a++;
		if (at < 0 || !(b >> at & 1))
			return false;
	}
	return n_a == n_b;
}

static bool diff_same_value(const struct conf_diff *d,
			    const struct conf_key *key, const void *a,
			    const void *b)
{
	switch (key->type) {
	case CONF_T_PATH:
	case CONF_T_STREAM:
		return strcmp(a, b) == 0;
	case CONF_T_VIP_SET:
		return diff_same_vips(d, *(const uint64_t *)a,
				      *(const uint64_t *)b);
	case CONF_T_VIPS:
	case CONF_T_OWN:
		return true; /* diff_vips(), diff_own() */
	default:
		return memcmp(a, b, conf_value_bytes(key)) == 0;
	}
}

static void diff_value(struct conf_diff *d, const struct conf_key *key,
		       const char *where, const void *a, const void *b)
{
	char old[DIFF_VALUE_BYTES], new[DIFF_VALUE_BYTES];

	if (key->type == CONF_T_VIP_SET) {
		conf_print_vip_set(&d->a->tun, *(const uint64_t *)a, old,
				   sizeof(old));
		conf_print_vip_set(&d->b->tun, *(const uint64_t *)b, new,
				   sizeof(new));
	} else {
		conf_print_value(key, a, old, sizeof(old));
		conf_print_value(key, b, new, sizeof(new));
	}
	diff_line(d, key->apply, "%s%s %s -> %s", where, key->name, old, new);
}

/* The keys of one section; where: "", or what comes before a key's name. */
static void diff_section(struct conf_diff *d, enum conf_section section,
			 const char *where, const void *a, const void *b)
{
	for (size_t i = 0; i < conf_n_keys; i++) {
		const struct conf_key *key = &conf_keys[i];
		const void *x = (const char *)a + key->offset;
		const void *y = (const char *)b + key->offset;

		if (key->section == section && !diff_same_value(d, key, x, y))
			diff_value(d, key, where, x, y);
	}
}

/* Addresses that are in one and not in other. */
static void diff_vips(struct conf_diff *d, const struct conf_tun *one,
		      const struct conf_tun *other, const char *what)
{
	char text[INET6_ADDRSTRLEN];

	for (uint32_t i = 0; i < one->n_vips; i++) {
		if (one->own_vips >> i & 1 ||
		    conf_find_vip_as(other, &one->vips[i], false) >= 0)
			continue;
		conf_print_ip(&one->vips[i], text, sizeof(text));
		diff_line(d, CONF_AT_RELOAD, "vip %s: %s", text, what);
	}
}

/* Ports of own addresses that are in one and not in other. */
static void diff_own(struct conf_diff *d, const struct conf_tun *one,
		     const struct conf_tun *other, const char *what)
{
	char text[INET6_ADDRSTRLEN + 8];

	for (uint32_t i = 0; i < one->n_own; i++) {
		if (conf_has_own(other, &one->own[i]))
			continue;
		conf_print_own(&one->own[i], text, sizeof(text));
		diff_line(d, CONF_AT_RELOAD, "listen %s: %s: %s",
			  one->own[i].link, text, what);
	}
}

static void diff_tun(struct conf_diff *d)
{
	const struct conf_tun *a = &d->a->tun, *b = &d->b->tun;
	char where[64];

	if (strcmp(a->name, b->name) != 0)
		diff_line(d, CONF_AT_RESTART, "tun %s -> %s", a->name, b->name);
	snprintf(where, sizeof(where), "tun %s: ", a->name);
	diff_section(d, CONF_SEC_TUN, where, a, b);
	diff_vips(d, a, b, "removed");
	diff_vips(d, b, a, "added");
	diff_own(d, a, b, "given back");
	diff_own(d, b, a, "taken over");
}

static void diff_metrics(struct conf_diff *d)
{
	if (d->a->has_metrics && d->b->has_metrics)
		diff_section(d, CONF_SEC_METRICS, "metrics: ", d->a, d->b);
	else if (d->a->has_metrics != d->b->has_metrics)
		diff_line(d, CONF_AT_RESTART, "metrics: %s",
			  d->b->has_metrics ? "added" : "removed");
}

static void diff_pools(struct conf_diff *d)
{
	for (uint32_t i = 0; i < d->a->n_pools; i++)
		if (!conf_find_pool(d->b, d->a->pools[i].name))
			diff_line(d, CONF_AT_RELOAD, "pool %s: removed",
				  d->a->pools[i].name);
	for (uint32_t i = 0; i < d->b->n_pools; i++) {
		const struct conf_pool *b = &d->b->pools[i];
		const struct conf_pool *a = conf_find_pool(d->a, b->name);
		char where[CONF_NAME_MAX + 16], size[32];

		conf_print_size(b->receive_buffer_bytes, size, sizeof(size));
		snprintf(where, sizeof(where), "pool %s: ", b->name);
		if (a)
			diff_section(d, CONF_SEC_POOL, where, a, b);
		else
			diff_line(d, CONF_AT_RELOAD,
				  "%sadded (receive-buffer %s)", where, size);
	}
}

static const struct conf_backend *diff_find_backend(const struct conf_group *g,
						    const char *name)
{
	for (uint32_t i = 0; i < g->n_backends; i++)
		if (strcmp(g->backends[i].name, name) == 0)
			return &g->backends[i];
	return NULL;
}

static void diff_backends(struct conf_diff *d, const struct conf_group *a,
			  const struct conf_group *b)
{
	for (uint32_t i = 0; i < a->n_backends; i++)
		if (!diff_find_backend(b, a->backends[i].name))
			diff_line(d, CONF_AT_RELOAD,
				  "group %s: backend %s: removed", a->name,
				  a->backends[i].name);
	for (uint32_t i = 0; i < b->n_backends; i++) {
		const struct conf_backend *y = &b->backends[i];
		const struct conf_backend *x = diff_find_backend(a, y->name);
		char where[2 * CONF_NAME_MAX + 32];

		snprintf(where, sizeof(where),
			 "group %s: backend %s: ", b->name, y->name);
		if (x)
			diff_section(d, CONF_SEC_BACKEND, where, x, y);
		else
			diff_line(d, CONF_AT_RELOAD, "%sadded (%s)", where,
				  y->address);
	}
}

static void diff_group(struct conf_diff *d, const struct conf_group *a,
		       const struct conf_group *b)
{
	const char *from = d->a->pools[a->pool].name;
	const char *to = d->b->pools[b->pool].name;
	char where[CONF_NAME_MAX + 16];

	if (a->port != b->port) {
		diff_line(
			d, CONF_AT_RELOAD,
			"group %s: port %u -> %u: another group, the connections of the old "
			"one end",
			a->name, a->port, b->port);
		return;
	}
	if (a->protocol != b->protocol) {
		diff_line(
			d, CONF_AT_RELOAD,
			"group %s: backends of another protocol: another group, the "
			"connections of the old one end",
			a->name);
		return;
	}
	if (strcmp(from, to) != 0)
		diff_line(d, CONF_AT_RELOAD, "group %s: pool %s -> %s", a->name,
			  from, to);
	snprintf(where, sizeof(where), "group %s: ", a->name);
	diff_section(d, CONF_SEC_GROUP, where, a, b);
	diff_backends(d, a, b);
}

static void diff_groups(struct conf_diff *d)
{
	for (uint32_t i = 0; i < d->a->n_groups; i++)
		if (!conf_find_group(d->b, d->a->groups[i].name))
			diff_line(d, CONF_AT_RELOAD,
				  "group %s: removed, its connections end",
				  d->a->groups[i].name);
	for (uint32_t i = 0; i < d->b->n_groups; i++) {
		const struct conf_group *b = &d->b->groups[i];
		const struct conf_group *a = conf_find_group(d->a, b->name);

		if (a)
			diff_group(d, a, b);
		else
			diff_line(d, CONF_AT_RELOAD,
				  "group %s: added (port %u)", b->name,
				  b->port);
	}
}

unsigned conf_diff(const struct conf *running, const struct conf *wanted,
		   conf_report report, void *arg)
{
	struct conf_diff d = {
		.a = running, .b = wanted, .report = report, .arg = arg
	};

	diff_section(&d, CONF_SEC_TOP, "", running, wanted);
	diff_tun(&d);
	diff_section(&d, CONF_SEC_CONTROL, "control: ", &running->control,
		     &wanted->control);
	diff_section(&d, CONF_SEC_ATTACH, "attach: ", &running->attach,
		     &wanted->attach);
	diff_metrics(&d);
	diff_pools(&d);
	diff_groups(&d);
	return d.restarts;
}

static void keep_section(enum conf_section section, const void *running,
			 void *wanted)
{
	for (size_t i = 0; i < conf_n_keys; i++) {
		const struct conf_key *key = &conf_keys[i];

		if (key->section == section && key->apply != CONF_AT_RELOAD)
			memcpy((char *)wanted + key->offset,
			       (const char *)running + key->offset,
			       conf_value_bytes(key));
	}
}

void conf_keep(const struct conf *running, struct conf *wanted)
{
	keep_section(CONF_SEC_TOP, running, wanted);
	keep_section(CONF_SEC_TUN, &running->tun, &wanted->tun);
	keep_section(CONF_SEC_CONTROL, &running->control, &wanted->control);
	keep_section(CONF_SEC_ATTACH, &running->attach, &wanted->attach);
	keep_section(CONF_SEC_METRICS, running, wanted);
	wanted->has_metrics = running->has_metrics;
	memcpy(wanted->tun.name, running->tun.name, sizeof(wanted->tun.name));
}
