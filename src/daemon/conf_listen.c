/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_listen - sections "listen": ports of the host's own addresses.
 *
 * A section's lists are multiplied out: conf_tun.own has one entry for each
 * port of each address. The addresses are VIPs as well (conf_tun.vips), with
 * their bits in own_vips, so that groups and records name them like others.
 *
 * The title is an interface, or INTERFACE:LABEL, so that one interface can
 * have several sections; names of interfaces have no ':'.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/conf_load.h"

#define CONF_LINK_MAX (sizeof(((struct conf_own *)NULL)->link) - 1)

/* An interface's name, of so many characters, as the kernel would take it. */
static bool conf_link_name(const char *text, size_t len, char ret_name[16])
{
	if (len == 0 || len > CONF_LINK_MAX || text[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)text[i]) || strchr("/:%", text[i]))
			return false;
	memset(ret_name, 0, 16);
	memcpy(ret_name, text, len);
	return true;
}

void conf_fill_proxies(struct conf_loader *l, cfg_t *sec)
{
	struct conf_tun *tun = &l->conf->tun;
	const cfg_opt_t *opt = conf_opt(sec, "proxy-arp");
	uint32_t n = 0;

	for (unsigned int i = 0; i < opt->nvalues; i++) {
		const char *text = opt->values[i]->string;
		int line = conf_tree_line(&l->tree, opt, i, sec->line);
		char name[16] = "";

		if (!conf_link_name(text, strlen(text), name) ||
		    strcmp(name, tun->name) == 0 || strcmp(name, "lo") == 0)
			conf_problem(&l->problems, line,
				     "proxy-arp: \"%s\" is not the name of an "
				     "interface to a network",
				     text);
		else if (n == CONF_PROXIES_MAX)
			conf_problem(&l->problems, line,
				     "proxy-arp: %u interfaces: at most %d",
				     opt->nvalues, CONF_PROXIES_MAX);
		else
			memcpy(tun->proxies[n++], name, sizeof(name));
	}
}

/* --- listen ------------------------------------------------------------ */

static bool conf_listen_link(struct conf_loader *l, cfg_t *sec,
			     char ret_link[16])
{
	const char *title = cfg_title(sec);

	if (!conf_link_name(title, strcspn(title, ":"), ret_link))
		conf_problem(&l->problems, sec->line,
			     "listen \"%s\": the title is the name of an "
			     "interface, or INTERFACE:LABEL",
			     title);
	else if (strcmp(ret_link, l->conf->tun.name) == 0)
		conf_problem(&l->problems, sec->line,
			     "listen \"%s\": that is the tun itself: name the "
			     "interface that clients' packets come in on",
			     title);
	else if (strcmp(ret_link, "lo") == 0)
		conf_problem(&l->problems, sec->line,
			     "listen \"lo\": programs on this host cannot be "
			     "served so: give them a vip");
	else
		return true;
	return false;
}

/* Values of the list of ports that are ports. Returns how many. */
static uint32_t conf_listen_ports(struct conf_loader *l, cfg_t *sec,
				  uint16_t ret_ports[CONF_OWN_MAX])
{
	const cfg_opt_t *opt = conf_opt(sec, "port");
	uint32_t n = 0;

	for (unsigned int i = 0; i < opt->nvalues && n < CONF_OWN_MAX; i++) {
		const char *text = opt->values[i]->string;
		char *end;
		long port;

		errno = 0;
		port = strtol(text, &end, 10);
		if (end != text && *end == '\0' && !errno && port >= 1 &&
		    port <= UINT16_MAX)
			ret_ports[n++] = (uint16_t)port;
		else
			conf_problem(&l->problems,
				     conf_tree_line(&l->tree, opt, i,
						    sec->line),
				     "port: \"%s\" is not a port: must be 1 "
				     "to 65535",
				     text);
	}
	return n;
}

/* The address becomes a VIP, if it is none yet; false after a problem. */
static bool conf_listen_vip(struct conf_loader *l, const struct conf_ip *ip,
			    int line, const char *text)
{
	struct conf_tun *tun = &l->conf->tun;
	int at = conf_find_vip(tun, ip);

	if (at < 0 && tun->n_vips == CONF_VIPS_MAX) {
		conf_problem(&l->problems, line,
			     "address: %s: more than %d addresses, with those "
			     "in vip",
			     text, CONF_VIPS_MAX);
		return false;
	}
	if (at >= 0 && !(tun->own_vips >> at & 1)) {
		conf_problem(&l->problems, line,
			     "address: %s is in vip as well: an address is "
			     "either the host's own or routed to the tun",
			     text);
		return false;
	}
	if (at < 0) {
		tun->own_vips |= UINT64_C(1) << tun->n_vips;
		tun->vip_numbers[tun->n_vips] = (uint8_t)tun->n_vips;
		tun->vips[tun->n_vips++] = *ip;
	}
	return true;
}

/* False: no more fit. */
static bool conf_listen_add(struct conf_loader *l, const struct conf_own *own,
			    int line)
{
	struct conf_tun *tun = &l->conf->tun;
	char text[INET6_ADDRSTRLEN + 8];

	conf_print_own(own, text, sizeof(text));
	if (conf_has_own(tun, own)) {
		conf_problem(&l->problems, line,
			     "listen \"%s\": %s is there twice", own->link,
			     text);
		return true;
	}
	if (tun->n_own == CONF_OWN_MAX) {
		conf_problem(&l->problems, line,
			     "listen: more than %d ports of addresses in all",
			     CONF_OWN_MAX);
		return false;
	}
	tun->own[tun->n_own++] = *own;
	return true;
}

static void conf_listen_missing(struct conf_loader *l, cfg_t *sec,
				const char *name)
{
	const cfg_opt_t *opt = conf_opt(sec, name);

	if (opt->nvalues == 0)
		conf_problem(&l->problems, sec->line,
			     "%s: missing: each listen needs it", name);
}

/* All ports of one address; false: no more fit. */
static bool conf_fill_own(struct conf_loader *l, struct conf_own *own,
			  const uint16_t *ports, uint32_t n, int line)
{
	for (uint32_t i = 0; i < n; i++) {
		own->port = ports[i];
		if (!conf_listen_add(l, own, line))
			return false;
	}
	return true;
}

static void conf_fill_listen(struct conf_loader *l, cfg_t *sec)
{
	const cfg_opt_t *opt = conf_opt(sec, "address");
	uint16_t ports[CONF_OWN_MAX];
	uint32_t n = conf_listen_ports(l, sec, ports);
	struct conf_own own;

	memset(&own, 0, sizeof(own)); /* they are compared as bytes */
	conf_listen_missing(l, sec, "address");
	conf_listen_missing(l, sec, "port");
	if (!conf_listen_link(l, sec, own.link))
		return;
	for (unsigned int i = 0; i < opt->nvalues; i++) {
		int line = conf_tree_line(&l->tree, opt, i, sec->line);

		if (conf_list_ip(l, sec, opt, i, &own.ip) &&
		    conf_listen_vip(l, &own.ip, line, opt->values[i]->string) &&
		    !conf_fill_own(l, &own, ports, n, line))
			return;
	}
}

void conf_fill_listens(struct conf_loader *l, cfg_t *root)
{
	unsigned int n = conf_count(root, CONF_SEC_LISTEN);

	if (n > CONF_LISTENS_MAX)
		conf_problem(
			&l->problems,
			conf_nth(root, CONF_SEC_LISTEN, CONF_LISTENS_MAX)->line,
			"listen: %u of them: at most %d", n, CONF_LISTENS_MAX);
	for (unsigned int i = 0; i < n && i < CONF_LISTENS_MAX; i++)
		conf_fill_listen(l, conf_nth(root, CONF_SEC_LISTEN, i));
}

static bool conf_has_port(const struct conf *conf, uint16_t port)
{
	for (uint32_t i = 0; i < conf->n_groups; i++)
		if (conf->groups[i].port == port)
			return true;
	return false;
}

void conf_warn_of_listens(const struct conf *conf)
{
	const struct conf_tun *tun = &conf->tun;
	char text[INET6_ADDRSTRLEN + 8];

	for (uint32_t i = 0; i < tun->n_own; i++) {
		if (conf_has_port(conf, tun->own[i].port))
			continue;
		conf_print_own(&tun->own[i], text, sizeof(text));
		log_warn("listen \"%s\": %s is taken from the host, and no "
			 "group has the port: unless an application brings one, "
			 "its clients are refused",
			 tun->own[i].link, text);
		return; /* the first says it */
	}
}
