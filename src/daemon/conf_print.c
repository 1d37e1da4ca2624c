/* SPDX-License-Identifier: BSD-2-Clause */
/* conf_print - the text of a value, as it would stand in the file. */
#include <arpa/inet.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/units.h"
#include "daemon/conf_load.h"

void conf_print_size(uint64_t bytes, char *text, size_t size)
{
	static const struct {
		uint64_t unit;
		char letter;
	} units[] = { { GIB, 'G' }, { MIB, 'M' }, { KIB, 'K' } };

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (bytes >= units[i].unit && bytes % units[i].unit == 0) {
			snprintf(text, size, "%" PRIu64 "%c",
				 bytes / units[i].unit, units[i].letter);
			return;
		}
	}
	snprintf(text, size, "%" PRIu64, bytes);
}

void conf_print_ip(const struct conf_ip *ip, char *text, size_t size)
{
	if (!inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, text,
		       (socklen_t)size))
		snprintf(text, size, "?");
}

static void conf_print_gid(gid_t gid, char *text, size_t size)
{
	struct group *gr = gid == (gid_t)-1 ? NULL : getgrgid(gid);

	if (gr)
		snprintf(text, size, "%s", gr->gr_name);
	else if (gid == (gid_t)-1)
		snprintf(text, size, "(none)");
	else
		snprintf(text, size, "%u", (unsigned int)gid);
}

static void conf_print_listen(const struct sockaddr_storage *ss, char *text,
			      size_t size)
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in;
	char host[INET6_ADDRSTRLEN] = "?";

	if (ss->ss_family == AF_INET) {
		memcpy(&in, ss, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(in.sin_port));
		return;
	}
	memcpy(&in6, ss, sizeof(in6));
	inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
	snprintf(text, size, "[%s]:%u", host, ntohs(in6.sin6_port));
}

static void conf_print_number(const struct conf_key *key, const void *value,
			      char *text, size_t size)
{
	switch (key->type) {
	case CONF_T_U16:
		snprintf(text, size, "%u", *(const uint16_t *)value);
		break;
	case CONF_T_U32:
		snprintf(text, size, "%" PRIu32, *(const uint32_t *)value);
		break;
	case CONF_T_I32:
		snprintf(text, size, "%" PRId32, *(const int32_t *)value);
		break;
	case CONF_T_ENUM:
		snprintf(text, size, "%s",
			 key->names[*(const unsigned int *)value]);
		break;
	default:
		snprintf(text, size, "%04o",
			 (unsigned int)*(const mode_t *)value);
		break;
	}
}

static void conf_print_links(const char (*links)[16], char *text, size_t size)
{
	size_t n = 0;

	snprintf(text, size, "(none)");
	for (int i = 0; i < CONF_PROXIES_MAX && links[i][0] && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%s", n ? "," : "",
				      links[i]);
}

void conf_print_own(const struct conf_own *own, char *text, size_t size)
{
	char ip[INET6_ADDRSTRLEN];

	conf_print_ip(&own->ip, ip, sizeof(ip));
	snprintf(text, size, own->ip.family == 6 ? "[%s]:%u" : "%s:%u", ip,
		 own->port);
}

void conf_print_value(const struct conf_key *key, const void *value, char *text,
		      size_t size)
{
	switch (key->type) {
	case CONF_T_SIZE:
		conf_print_size(*(const uint64_t *)value, text, size);
		break;
	case CONF_T_ACK_WINDOW:
		if (*(const uint32_t *)value == CONF_ACK_WINDOW_AUTO)
			snprintf(text, size, "auto");
		else
			conf_print_size(*(const uint32_t *)value, text, size);
		break;
	case CONF_T_BOOL:
		snprintf(text, size, "%s",
			 *(const bool *)value ? "true" : "false");
		break;
	case CONF_T_PATH:
	case CONF_T_STREAM:
		snprintf(text, size, "%s", (const char *)value);
		break;
	case CONF_T_GID:
		conf_print_gid(*(const gid_t *)value, text, size);
		break;
	case CONF_T_LISTEN:
		conf_print_listen(value, text, size);
		break;
	case CONF_T_LINKS:
		conf_print_links(value, text, size);
		break;
	case CONF_T_VIPS:
	case CONF_T_VIP_SET:
	case CONF_T_OWN:
		snprintf(text, size, "(a list)"); /* conf_diff.c's */
		break;
	default:
		conf_print_number(key, value, text, size);
		break;
	}
}

void conf_print_vip_set(const struct conf_tun *tun, uint64_t mask, char *text,
			size_t size)
{
	char ip[INET6_ADDRSTRLEN];
	size_t n = 0;

	if (mask == UINT64_MAX) {
		snprintf(text, size, "(all)");
		return;
	}
	text[0] = '\0';
	for (uint32_t i = 0; i < tun->n_vips && n < size; i++) {
		if (!(mask >> i & 1))
			continue;
		conf_print_ip(&tun->vips[i], ip, sizeof(ip));
		n += (size_t)snprintf(text + n, size - n, "%s%s", n ? "," : "",
				      ip);
	}
}
