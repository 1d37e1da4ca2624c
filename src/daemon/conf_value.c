/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_value - from the text of one value to its field.
 *
 * Values come from libconfuse as text, whatever their type, so that every
 * message can quote what was written and say the range in the key's own unit.
 */
#include "daemon/conf_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/units.h"
#include "proto/addr.h"

/* Where the reason goes. */
struct conf_why {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static int
conf_bad(const struct conf_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, why->size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* What a size may be, in words. */
static void conf_size_range(const struct conf_key *key, char *buf, size_t size)
{
	char lo[32], hi[32];

	conf_print_size((uint64_t)key->min, lo, sizeof(lo));
	conf_print_size((uint64_t)key->max, hi, sizeof(hi));
	snprintf(buf, size, "%s%s to %s bytes",
		 key->type == CONF_T_ACK_WINDOW ? "\"auto\" or " : "", lo, hi);
}

static int conf_bad_range(const struct conf_key *key, const char *text,
			  const struct conf_why *why)
{
	char range[96];

	if (key->type == CONF_T_SIZE || key->type == CONF_T_ACK_WINDOW) {
		conf_size_range(key, range, sizeof(range));
		return conf_bad(why, "%s is out of range: must be %s", text,
				range);
	}
	return conf_bad(why,
			"%s is out of range: must be %" PRId64 " to %" PRId64
			"%s%s",
			text, key->min, key->max, key->unit ? " " : "",
			key->unit ? key->unit : "");
}

static int conf_parse_number(const struct conf_key *key, const char *text,
			     int64_t *ret_n, const struct conf_why *why)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end != '\0')
		return conf_bad(why,
				"\"%s\" is not a whole number (%" PRId64
				" to %" PRId64 "%s%s)",
				text, key->min, key->max, key->unit ? " " : "",
				key->unit ? key->unit : "");
	if (errno == ERANGE || n < key->min || n > key->max)
		return conf_bad_range(key, text, why);
	*ret_n = n;
	return 0;
}

static int conf_parse_size(const struct conf_key *key, const char *text,
			   uint64_t *ret_n, const struct conf_why *why)
{
	uint64_t unit = 1;
	unsigned long long n;
	char *end, range[96];

	errno = 0;
	n = strtoull(text, &end, 10);
	switch (*end) {
	case 'K':
	case 'k':
		unit = KIB;
		break;
	case 'M':
	case 'm':
		unit = MIB;
		break;
	case 'G':
	case 'g':
		unit = GIB;
		break;
	}
	if (end == text || text[0] == '-' || strlen(end) > (unit > 1 ? 1 : 0)) {
		conf_size_range(key, range, sizeof(range));
		return conf_bad(why,
				"\"%s\" is not a size: a whole number, with "
				"K, M or G (%s)",
				text, range);
	}
	if (errno == ERANGE || n > UINT64_MAX / unit ||
	    n * unit < (uint64_t)key->min || n * unit > (uint64_t)key->max)
		return conf_bad_range(key, text, why);
	*ret_n = n * unit;
	return 0;
}

static int conf_set_number(const struct conf_key *key, const char *text,
			   void *target, const struct conf_why *why)
{
	int64_t n = 0;
	int rc = conf_parse_number(key, text, &n, why);

	if (rc < 0)
		return rc;
	if (key->type == CONF_T_U16)
		*(uint16_t *)target = (uint16_t)n;
	else if (key->type == CONF_T_U32)
		*(uint32_t *)target = (uint32_t)n;
	else
		*(int32_t *)target = (int32_t)n;
	return 0;
}

static int conf_set_size(const struct conf_key *key, const char *text,
			 void *target, const struct conf_why *why)
{
	uint64_t n = 0;
	int rc;

	if (key->type == CONF_T_ACK_WINDOW && strcmp(text, "auto") == 0) {
		*(uint32_t *)target = CONF_ACK_WINDOW_AUTO;
		return 0;
	}
	rc = conf_parse_size(key, text, &n, why);
	if (rc < 0)
		return rc;
	if (key->type == CONF_T_ACK_WINDOW)
		*(uint32_t *)target = (uint32_t)n;
	else
		*(uint64_t *)target = n;
	return 0;
}

static int conf_set_bool(const char *text, void *target,
			 const struct conf_why *why)
{
	int b = cfg_parse_boolean(text);

	if (b < 0)
		return conf_bad(why, "\"%s\" is neither true nor false", text);
	*(bool *)target = b == 1;
	return 0;
}

static int conf_set_enum(const struct conf_key *key, const char *text,
			 void *target, const struct conf_why *why)
{
	char list[128] = "";
	size_t n = 0;

	for (unsigned int i = 0; key->names[i]; i++) {
		if (strcmp(key->names[i], text) == 0) {
			*(unsigned int *)target = i;
			return 0;
		}
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s\"%s\"",
				      i == 0 ? "" : ", ", key->names[i]);
	}
	return conf_bad(why, "\"%s\" is none of %s", text, list);
}

/* It is printed in lines: a newline would begin another one. */
static bool conf_has_control(const char *text)
{
	for (; *text; text++)
		if ((uint8_t)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static int conf_set_path(const struct conf_key *key, const char *text,
			 void *target, const struct conf_why *why)
{
	size_t len = strlen(text);

	if (text[0] != '/')
		return conf_bad(why, "\"%s\" is not an absolute path", text);
	if (conf_has_control(text))
		return conf_bad(why, "the path has a control character");
	if (len > (size_t)key->max)
		return conf_bad(why, "the path has %zu bytes: at most %" PRId64,
				len, key->max);
	memcpy(target, text, len + 1);
	return 0;
}

static int conf_set_mode(const struct conf_key *key, const char *text,
			 void *target, const struct conf_why *why)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 8);
	if (end == text || *end != '\0' || text[0] == '-' || errno == ERANGE ||
	    n > (unsigned long)key->max)
		return conf_bad(
			why,
			"\"%s\" is not an octal mode: must be 0000 to 0%lo",
			text, (unsigned long)key->max);
	*(mode_t *)target = (mode_t)n;
	return 0;
}

/* A default group that the host does not have leaves the owner as it is. */
static int conf_set_gid(const char *text, bool set_default, void *target,
			const struct conf_why *why)
{
	struct group *gr = getgrnam(text);

	if (!gr && !set_default)
		return conf_bad(why, "no group of users \"%s\" on this host",
				text);
	*(gid_t *)target = gr ? gr->gr_gid : (gid_t)-1;
	return 0;
}

/* Splits "ADDRESS:PORT", brackets around an IPv6 address taken off. */
static bool conf_split_listen(const char *text, char host[INET6_ADDRSTRLEN],
			      const char **ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t len;

	if (!colon)
		return false;
	len = (size_t)(colon - text);
	if (text[0] == '[') {
		if (len < 2 || colon[-1] != ']')
			return false;
		text++;
		len -= 2;
	}
	if (len >= INET6_ADDRSTRLEN)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	*ret_port = colon + 1;
	return true;
}

static int conf_set_listen(const struct conf_key *key, const char *text,
			   void *target, const struct conf_why *why)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	char host[INET6_ADDRSTRLEN];
	const char *port = "";
	int64_t n = 0;
	int rc;

	if (!conf_split_listen(text, host, &port))
		return conf_bad(why,
				"\"%s\" is not ADDRESS:PORT (IPv6 in brackets)",
				text);
	rc = conf_parse_number(key, port, &n, why);
	if (rc < 0)
		return rc;
	in.sin_port = in6.sin6_port = htons((uint16_t)n);
	if (text[0] != '[' && inet_pton(AF_INET, host, &in.sin_addr) == 1)
		memcpy(target, &in, sizeof(in));
	else if (text[0] == '[' &&
		 inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
		memcpy(target, &in6, sizeof(in6));
	else
		return conf_bad(why,
				"\"%s\" is not a numeric address and port "
				"(IPv6 in brackets)",
				text);
	return 0;
}

static int conf_set_stream(const struct conf_key *key, const char *text,
			   void *target, const struct conf_why *why)
{
	struct sockaddr_storage ss;
	socklen_t len;
	const char *reason = "";

	if (addr_parse(text, &ss, &len, &reason) < 0)
		return conf_bad(why, "\"%s\": %s", text, reason);
	if (conf_has_control(text))
		return conf_bad(why, "the address has a control character");
	if (strlen(text) > (size_t)key->max)
		return conf_bad(why, "longer than %" PRId64 " bytes", key->max);
	memcpy(target, text, strlen(text) + 1);
	return 0;
}

int conf_value_set(const struct conf_key *key, const char *text,
		   bool set_default, void *target, char *ret_why, size_t size)
{
	const struct conf_why why = { ret_why, size };

	switch (key->type) {
	case CONF_T_U16:
	case CONF_T_U32:
	case CONF_T_I32:
		return conf_set_number(key, text, target, &why);
	case CONF_T_SIZE:
	case CONF_T_ACK_WINDOW:
		return conf_set_size(key, text, target, &why);
	case CONF_T_BOOL:
		return conf_set_bool(text, target, &why);
	case CONF_T_ENUM:
		return conf_set_enum(key, text, target, &why);
	case CONF_T_PATH:
		return conf_set_path(key, text, target, &why);
	case CONF_T_MODE:
		return conf_set_mode(key, text, target, &why);
	case CONF_T_GID:
		return conf_set_gid(text, set_default, target, &why);
	case CONF_T_LISTEN:
		return conf_set_listen(key, text, target, &why);
	case CONF_T_STREAM:
		return conf_set_stream(key, text, target, &why);
	case CONF_T_VIPS:
	case CONF_T_VIP_SET:
	case CONF_T_LINKS:
	case CONF_T_OWN:
		break;
	}
	/* lists are set by conf.c, value by value */
	assert(!conf_key_is_list(key));
	return -EINVAL;
}

size_t conf_value_bytes(const struct conf_key *key)
{
	switch (key->type) {
	case CONF_T_U16:
		return sizeof(uint16_t);
	case CONF_T_U32:
	case CONF_T_I32:
	case CONF_T_ACK_WINDOW:
		return sizeof(uint32_t);
	case CONF_T_SIZE:
	case CONF_T_VIP_SET:
		return sizeof(uint64_t);
	case CONF_T_BOOL:
		return sizeof(bool);
	case CONF_T_ENUM:
		return sizeof(unsigned int);
	case CONF_T_PATH:
	case CONF_T_STREAM:
		return (size_t)key->max + 1;
	case CONF_T_MODE:
		return sizeof(mode_t);
	case CONF_T_GID:
		return sizeof(gid_t);
	case CONF_T_LISTEN:
		return sizeof(struct sockaddr_storage);
	case CONF_T_LINKS:
		return sizeof(((struct conf_tun *)NULL)->proxies);
	case CONF_T_OWN:
		return sizeof(((struct conf_tun *)NULL)->own);
	case CONF_T_VIPS:
		break;
	}
	return sizeof(struct conf_ip) * CONF_VIPS_MAX;
}

static const char *conf_ip4_unusable(const uint8_t a[4])
{
	if (a[0] == 0 || a[0] >= 240)
		return "a reserved address";
	if (a[0] == 127)
		return "a loopback address";
	if (a[0] >= 224)
		return "a multicast address";
	return NULL;
}

static const char *conf_ip6_unusable(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_UNSPECIFIED(a))
		return "the unspecified address";
	if (IN6_IS_ADDR_LOOPBACK(a))
		return "a loopback address";
	if (IN6_IS_ADDR_MULTICAST(a))
		return "a multicast address";
	if (IN6_IS_ADDR_LINKLOCAL(a))
		return "a link-local address";
	if (IN6_IS_ADDR_V4MAPPED(a))
		return "an IPv4 address in disguise";
	return NULL;
}

int conf_value_ip(const char *text, struct conf_ip *ret_ip, char *ret_why,
		  size_t size)
{
	const struct conf_why why = { ret_why, size };
	struct conf_ip ip = { 0 };
	struct in6_addr in6;
	const char *bad;

	if (inet_pton(AF_INET, text, ip.bytes) == 1) {
		ip.family = 4;
		bad = conf_ip4_unusable(ip.bytes);
	} else if (inet_pton(AF_INET6, text, &in6) == 1) {
		ip.family = 6;
		memcpy(ip.bytes, &in6, sizeof(in6));
		bad = conf_ip6_unusable(&in6);
	} else {
		return conf_bad(&why, "\"%s\" is not an IPv4 or IPv6 address",
				text);
	}
	if (bad)
		return conf_bad(&why, "%s is %s: clients could not reach it",
				text, bad);
	*ret_ip = ip;
	return 0;
}
