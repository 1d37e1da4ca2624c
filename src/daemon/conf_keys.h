/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_keys - the one table of all keys of xtcpd.conf(5).
 *
 * What libconfuse accepts, how a value is checked and stored, its default,
 * when a change takes effect, and the manual page's completeness test all
 * come from here.
 */
#ifndef XTCP_DAEMON_CONF_KEYS_H
#define XTCP_DAEMON_CONF_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_section {
	CONF_SEC_TOP,
	CONF_SEC_TUN,
	CONF_SEC_LISTEN,
	CONF_SEC_CONTROL,
	CONF_SEC_ATTACH,
	CONF_SEC_METRICS,
	CONF_SEC_POOL,
	CONF_SEC_GROUP,
	CONF_SEC_BACKEND,
	CONF_SECTIONS
};

/* How a value is written, and what it is stored as. */
enum conf_type {
	CONF_T_U16,
	CONF_T_U32,
	CONF_T_I32,
	CONF_T_SIZE, /* with K, M or G; uint64_t */
	CONF_T_BOOL,
	CONF_T_ENUM, /* one of conf_key.names; an enum */
	CONF_T_PATH, /* absolute; char[max + 1] */
	CONF_T_MODE, /* octal; mode_t */
	CONF_T_GID, /* name of a group of users; gid_t */
	CONF_T_ACK_WINDOW, /* "auto" or a size; uint32_t */
	CONF_T_LISTEN, /* ADDRESS:PORT; struct sockaddr_storage */
	CONF_T_STREAM, /* unix:PATH or tcp:HOST:PORT; char[max + 1] */
	CONF_T_VIPS, /* list of addresses; in struct conf_tun */
	CONF_T_VIP_SET, /* list of some of the tun's addresses; uint64_t mask */
	CONF_T_LINKS, /* list of names of interfaces; char[][16], unused: "" */
	CONF_T_OWN, /* list of addresses, or of ports: conf_listen.c */
};

/* When a changed value takes effect. */
enum conf_apply {
	CONF_AT_RELOAD,
	CONF_AT_RESTART,
	CONF_AT_NEW_ARENA, /* which a restart that recovers connections has not */
};

struct conf_key {
	enum conf_section section;
	const char *name;
	enum conf_type type;
	int64_t min, max;
	const char *def; /* as it would be written; NULL: must be given */
	const char *unit; /* "ms", "bytes", ... or NULL */
	enum conf_apply apply;
	size_t offset; /* in the structure of its section */
	const char *const *names; /* CONF_T_ENUM: by value, up to a NULL */
	const char *help;
};

/* All keys, ordered by section. */
extern const struct conf_key conf_keys[];
extern const size_t conf_n_keys;

/* "pool", "group"...; "" for CONF_SEC_TOP. */
const char *conf_section_name(enum conf_section section);

/* Is the value a list of values? */
static inline bool conf_key_is_list(const struct conf_key *key)
{
	return key->type == CONF_T_VIPS || key->type == CONF_T_VIP_SET ||
	       key->type == CONF_T_LINKS || key->type == CONF_T_OWN;
}

#endif
