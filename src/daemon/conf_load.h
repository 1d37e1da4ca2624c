/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_load - what the files conf*.c share while one configuration is read.
 */
#ifndef XTCP_DAEMON_CONF_LOAD_H
#define XTCP_DAEMON_CONF_LOAD_H

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"
#include "daemon/conf_keys.h"

/* Bound of a file; a thousand groups with backends have a tenth of it. */
#define CONF_FILE_MAX_BYTES (4u * 1024u * 1024u)
/* Problems beyond so many are counted, not shown. */
#define CONF_PROBLEMS_MAX 100
#define CONF_BACKENDS_MAX 64 /* per group */
#define CONF_STREAMS_MAX 16 /* per worker, of frames */
#define CONF_LINE_BYTES 512 /* of a report */

/* Problems, to be reported in the order of lines. */
struct conf_problem {
	int line; /* 0: of the file as a whole */
	unsigned int seq;
	char text[CONF_LINE_BYTES];
};

struct conf_problems {
	struct conf_problem list[CONF_PROBLEMS_MAX];
	unsigned int n; /* may be more than fit in the list */
};

/* conf_problem: note "what" (printf-like) about a line. */
__attribute__((format(printf, 3, 4))) void
conf_problem(struct conf_problems *p, int line, const char *fmt, ...);

/* Reports them, as "path:line: text". */
void conf_problems_report(struct conf_problems *p, const char *path,
			  conf_report report, void *arg);

/*
 * conf_text.c: the file's text. Comments are replaced by blanks, so that
 * libconfuse, which miscounts lines at comments, never sees one.
 */

/*
 * Reads path whole. Returns a heap string, or NULL after noting the problem
 * (not readable, NUL bytes, a string or comment that does not end).
 */
char *conf_text_load(const char *path, struct conf_problems *p);

/*
 * Blanks out the statement "name = value", "name = {...}", "name {...}" or
 * "name title {...}" that begins on the line. Returns false when there is none.
 */
bool conf_text_blank(char *text, int line, const char *name);

/*
 * conf_value.c: the text of one value, checked against its key, into target
 * (the field, not the structure). set_default: the text is the key's default.
 * Returns 0, or -EINVAL with a text in ret_why that has the value and the
 * range; target is untouched then.
 */
int conf_value_set(const struct conf_key *key, const char *text,
		   bool set_default, void *target, char *ret_why, size_t size);

/* An IPv4 or IPv6 address that can be a VIP. Returns 0, -EINVAL and ret_why. */
int conf_value_ip(const char *text, struct conf_ip *ret_ip, char *ret_why,
		  size_t size);

/* Bytes that the values of a key without a list take. */
size_t conf_value_bytes(const struct conf_key *key);

/*
 * conf_print.c: texts of values, as they would stand in the file. Sizes:
 * "64K" for a multiple of 1024, and so on.
 */
void conf_print_size(uint64_t bytes, char *text, size_t size);
void conf_print_ip(const struct conf_ip *ip, char *text, size_t size);
/* "192.0.2.1:5222", "[2001:db8::1]:5222" */
void conf_print_own(const struct conf_own *own, char *text, size_t size);
void conf_print_value(const struct conf_key *key, const void *value, char *text,
		      size_t size);
/* A list of some of the tun's addresses. */
void conf_print_vip_set(const struct conf_tun *tun, uint64_t mask, char *text,
			size_t size);

/*
 * conf_parse.c: the file as libconfuse's tree, and the line of each value.
 */
struct conf_tree {
	cfg_t *root;
	struct conf_line *lines; /* heap */
	size_t n_lines, cap_lines;
	bool broken; /* parsing stopped before the end of the file */
};

/*
 * Parses text (and writes to it). What is wrong with the syntax is noted in p;
 * the tree holds what could be read. Returns 0 or -ENOMEM.
 */
int conf_tree_parse(struct conf_tree *ret_tree, char *text,
		    struct conf_problems *p);
void conf_tree_fini(struct conf_tree *tree);

/* One run of conf_load(). */
struct conf_loader {
	struct conf_tree tree;
	struct conf_problems problems;
	struct conf *conf;
	int group_lines[CONF_GROUPS_MAX];
};

/* conf.c: option of the section, which the table guarantees to be there. */
cfg_opt_t *conf_opt(cfg_t *sec, const char *name);
/* Sections of a kind in a section, and the i-th of them. */
unsigned int conf_count(cfg_t *sec, enum conf_section section);
cfg_t *conf_nth(cfg_t *sec, enum conf_section section, unsigned int i);
/* Value i of a list of addresses; false after noting what is wrong. */
bool conf_list_ip(struct conf_loader *l, cfg_t *sec, const cfg_opt_t *opt,
		  unsigned int i, struct conf_ip *ret_ip);

/*
 * conf_listen.c: the names of interfaces in the key "proxy-arp" of the
 * section, and all sections "listen" of the file; after the tun's addresses.
 */
void conf_fill_proxies(struct conf_loader *l, cfg_t *sec);
void conf_fill_listens(struct conf_loader *l, cfg_t *root);

/* Warn of ports of "listen" that no group has: they may be typing errors. */
void conf_warn_of_listens(const struct conf *conf);

/* The line of value i of the option, or fallback when it has none. */
int conf_tree_line(const struct conf_tree *tree, const cfg_opt_t *opt,
		   unsigned int i, int fallback);

#endif
