/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/ownport_check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/conf_load.h"
#include "daemon/sysctl.h"

/* "0A" in /proc/net/tcp */
#define OWNPORT_TCP_LISTEN 0x0aU
#define OWNPORT_PROGRAM_MAX 64

struct ownport_problems {
	conf_report report;
	void *arg;
	int rc;
};

__attribute__((format(printf, 3, 4))) static void
ownport_problem(struct ownport_problems *p, int rc, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->report(p->arg, text);
	p->rc = rc;
}

/* Is own[i] the first one with its interface? */
static bool ownport_first_link(const struct conf_tun *tun, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (strcmp(tun->own[k].link, tun->own[i].link) == 0)
			return false;
	return true;
}

static void ownport_check_links(struct ownport_problems *p, struct netlink *nl,
				const struct conf_tun *tun)
{
	struct netlink_link link;

	for (uint32_t i = 0; i < tun->n_own; i++) {
		const char *name = tun->own[i].link;
		int rc;

		if (!ownport_first_link(tun, i))
			continue;
		rc = netlink_link_get(nl, name, &link);
		if (rc == -ENODEV)
			ownport_problem(p, rc,
					"listen \"%s\": there is no such "
					"interface: see ip link",
					name);
		else if (rc < 0)
			ownport_problem(p, rc, "listen \"%s\": %s", name,
					strerror(-rc));
	}
}

static void ownport_check_addresses(struct ownport_problems *p,
				    struct netlink *nl,
				    const struct conf_tun *tun)
{
	char text[INET6_ADDRSTRLEN];

	for (uint32_t i = 0; i < tun->n_vips; i++) {
		uint8_t type = RTN_UNSPEC;
		int oif, rc;

		if (!(tun->own_vips >> i & 1))
			continue;
		rc = netlink_route_lookup(nl, &tun->vips[i], &type, &oif);
		if (rc == 0 && type == RTN_LOCAL)
			continue;
		conf_print_ip(&tun->vips[i], text, sizeof(text));
		ownport_problem(p, -EADDRNOTAVAIL,
				"listen: %s is no address of this host: give "
				"it to an interface (ip address add), or put "
				"it into vip of the tun",
				text);
	}
}

static bool ownport_has_family(const struct conf_tun *tun, uint8_t family)
{
	for (uint32_t i = 0; i < tun->n_own; i++)
		if (tun->own[i].ip.family == family)
			return true;
	return false;
}

/* Replies come in from the device, with a source that lies elsewhere. */
static void ownport_check_sysctls(struct ownport_problems *p,
				  const struct conf_tun *tun)
{
	int filter = sysctl_link_get("ipv4", "all", "rp_filter");

	if (ownport_has_family(tun, 4) && filter > '0')
		ownport_problem(p, -EINVAL,
				"listen: net.ipv4.conf.all.rp_filter is %c, "
				"which drops the replies: set it to 0, and "
				"rp_filter of each interface to what it is to "
				"be",
				filter);
	if (ownport_has_family(tun, 6) &&
	    sysctl_link_get("ipv6", "all", "forwarding") == '0' &&
	    sysctl_link_get("ipv6", tun->name, "force_forwarding") != '1')
		ownport_problem(p, -EINVAL,
				"listen: net.ipv6.conf.all.forwarding is 0, "
				"which drops the replies: set it to 1 (and "
				"accept_ra to 2 on interfaces that are "
				"configured by router advertisements)");
}

int ownport_check(struct netlink *nl, const struct conf_tun *tun,
		  conf_report report, void *arg)
{
	struct ownport_problems p = { report, arg, 0 };

	ownport_check_links(&p, nl, tun);
	ownport_check_addresses(&p, nl, tun);
	ownport_check_sysctls(&p, tun);
	return p.rc;
}

/* --- who listens there ------------------------------------------------- */

/* One of the kernel's listening sockets. */
struct ownport_listener {
	struct conf_ip ip; /* all zero: any */
	uint16_t port;
	unsigned long inode;
};

/* Addresses there are words of 32 bits in the host's order. */
static bool ownport_parse_ip(const char *hex, uint8_t family,
			     struct conf_ip *ret_ip)
{
	size_t words = family == 4 ? 1 : 4;

	memset(ret_ip, 0, sizeof(*ret_ip));
	ret_ip->family = family;
	if (strlen(hex) != words * 8)
		return false;
	for (size_t i = 0; i < words; i++) {
		char part[9] = { 0 };
		uint32_t word;

		memcpy(part, hex + i * 8, 8);
		word = (uint32_t)strtoul(part, NULL, 16);
		memcpy(ret_ip->bytes + i * 4, &word, sizeof(word));
	}
	return true;
}

/* Listening ones come first, and there may be a million others. */
static bool ownport_read_listener(FILE *fp, uint8_t family,
				  struct ownport_listener *ret)
{
	char line[512], address[33];
	unsigned int port, state;

	if (!fgets(line, sizeof(line), fp) ||
	    sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*d %*d %lu",
		   address, &port, &state, &ret->inode) != 4 ||
	    state != OWNPORT_TCP_LISTEN)
		return false;
	ret->port = (uint16_t)port;
	return ownport_parse_ip(address, family, &ret->ip);
}

/* A socket of all IPv6 addresses takes IPv4 as well, as a rule. */
static bool ownport_listens_to(const struct ownport_listener *l,
			       const struct conf_own *own)
{
	static const uint8_t any[16];

	if (l->port != own->port)
		return false;
	if (memcmp(l->ip.bytes, any, sizeof(any)) == 0)
		return l->ip.family == 6 || own->ip.family == 4;
	return memcmp(&l->ip, &own->ip, sizeof(l->ip)) == 0;
}

/* Does one of the process' descriptors have this link? */
static bool ownport_has_fd(const char *pid, const char *socket)
{
	char path[64 + sizeof(((struct dirent *)NULL)->d_name)], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%.16s/fd/%s", pid,
			 entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		found = strcmp(target, socket) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* "nginx (process 123)", or "a program" where we may not look. */
static void ownport_program(unsigned long inode,
			    char ret_text[OWNPORT_PROGRAM_MAX])
{
	char socket[64], path[64], name[32] = "";
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	FILE *fp;

	snprintf(ret_text, OWNPORT_PROGRAM_MAX, "a program");
	snprintf(socket, sizeof(socket), "socket:[%lu]", inode);
	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !ownport_has_fd(entry->d_name, socket))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/comm", entry->d_name);
		fp = fopen(path, "re");
		if (fp && fgets(name, sizeof(name), fp))
			name[strcspn(name, "\n")] = '\0';
		if (fp)
			fclose(fp);
		snprintf(ret_text, OWNPORT_PROGRAM_MAX, "%s (process %.16s)",
			 name, entry->d_name);
		break;
	}
	if (dir)
		closedir(dir);
}

static void ownport_warn_of(const struct ownport_listener *l,
			    const struct conf_tun *tun,
			    const struct conf_tun *before)
{
	char text[INET6_ADDRSTRLEN + 8], program[OWNPORT_PROGRAM_MAX];

	for (uint32_t i = 0; i < tun->n_own; i++) {
		const struct conf_own *own = &tun->own[i];

		if (!ownport_listens_to(l, own) ||
		    (before && conf_has_own(before, own)))
			continue;
		conf_print_own(own, text, sizeof(text));
		ownport_program(l->inode, program);
		log_warn(
			"listen \"%s\": %s listens on %s: what comes in on %s goes to "
			"xtcpd from now on, and its connections there end",
			own->link, program, text, own->link);
		return;
	}
}

static void ownport_warn_listeners(const char *path, uint8_t family,
				   const struct conf_tun *tun,
				   const struct conf_tun *before)
{
	struct ownport_listener l;
	FILE *fp = fopen(path, "re");
	char head[512];

	if (!fp)
		return;
	if (fgets(head, sizeof(head), fp))
		while (ownport_read_listener(fp, family, &l))
			ownport_warn_of(&l, tun, before);
	fclose(fp);
}

void ownport_warn(struct netlink *nl, const struct conf_tun *tun,
		  const struct conf_tun *before)
{
	struct netlink_link link;

	ownport_warn_listeners("/proc/self/net/tcp", 4, tun, before);
	ownport_warn_listeners("/proc/self/net/tcp6", 6, tun, before);
	for (uint32_t i = 0; i < tun->n_own; i++)
		if (ownport_first_link(tun, i) &&
		    netlink_link_get(nl, tun->own[i].link, &link) == 0 &&
		    link.mtu < tun->mtu)
			log_warn(
				"listen \"%s\": its MTU is %u, that of %s is %u: set mtu = %u, "
				"as replies that are too large are lost",
				tun->own[i].link, link.mtu, tun->name, tun->mtu,
				link.mtu);
}
