/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_parse - libconfuse's part: from text to a tree of options.
 *
 * The options are made from the table of keys, all as text: conf.c checks the
 * values afterwards, when it can name the line of each, noted here while
 * libconfuse parses (its validation callbacks see the line).
 *
 * libconfuse gives up at the first unknown key. A mistyped key should not hide
 * the next problem, so its statement is blanked out in the text, and the text
 * parsed again; other errors of syntax do end the reading.
 */
#include "daemon/conf_load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* So many mistyped keys are named in one run. */
#define CONF_UNKNOWN_MAX 32

struct conf_line {
	const cfg_opt_t *opt;
	unsigned int i; /* of a list */
	int line;
};

/*
 * libconfuse's callbacks have no argument of ours, and its scanner keeps its
 * state in globals as well: one file at a time, on one thread.
 */
static struct {
	struct conf_tree *tree;
	struct conf_problems *problems;
	bool out_of_memory;
	char unknown[64]; /* key that ended this pass, or "" */
	int unknown_line;
} parsing;

static struct conf_line *conf_tree_find(const struct conf_tree *tree,
					const cfg_opt_t *opt, unsigned int i)
{
	for (size_t k = 0; k < tree->n_lines; k++)
		if (tree->lines[k].opt == opt && tree->lines[k].i == i)
			return &tree->lines[k];
	return NULL;
}

int conf_tree_line(const struct conf_tree *tree, const cfg_opt_t *opt,
		   unsigned int i, int fallback)
{
	const struct conf_line *l = conf_tree_find(tree, opt, i);

	return l ? l->line : fallback;
}

/* Called after each value (and, for a list, at its end once more). */
static int conf_value_seen(cfg_t *cfg, cfg_opt_t *opt)
{
	struct conf_tree *tree = parsing.tree;
	unsigned int size = cfg_opt_size(opt);
	unsigned int i = size > 0 ? size - 1 : 0;
	struct conf_line *before = conf_tree_find(tree, opt, i);
	struct conf_line *more;

	if (before) {
		if (opt->flags & CFGF_LIST)
			return 0;
		conf_problem(parsing.problems, cfg->line,
			     "%s: given twice, first in line %d", opt->name,
			     before->line);
		/* libconfuse keeps the last one */
		before->line = cfg->line;
		return 0;
	}
	if (tree->n_lines == tree->cap_lines) {
		size_t cap = tree->cap_lines ? tree->cap_lines * 2 : 256;

		more = realloc(tree->lines, cap * sizeof(*more));
		if (!more) {
			parsing.out_of_memory = true;
			return -1;
		}
		tree->lines = more;
		tree->cap_lines = cap;
	}
	tree->lines[tree->n_lines++] =
		(struct conf_line){ .opt = opt, .i = i, .line = cfg->line };
	return 0;
}

/* libconfuse's messages, the frequent ones in our words. */
__attribute__((format(printf, 2, 0))) static void
conf_syntax_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	bool top = strcmp(cfg->name, "root") == 0;
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (strcmp(fmt, "no such option '%s'") == 0) {
		/* between the quotes */
		size_t n = strlen(text) - strlen("no such option ''");
		const char *name = text + strlen("no such option '");

		n = min_size(n, sizeof(parsing.unknown) - 1);
		memcpy(parsing.unknown, name, n);
		parsing.unknown[n] = '\0';
		parsing.unknown_line = cfg->line;
		conf_problem(parsing.problems, cfg->line,
			     "%s: unknown key %s%s, see xtcpd.conf(5)",
			     parsing.unknown,
			     top ? "outside of all sections" : "in section ",
			     top ? "" : cfg->name);
		return;
	}
	if (strncmp(text, "found duplicate title",
		    strlen("found duplicate title")) == 0)
		conf_problem(parsing.problems, cfg->line,
			     "%s: another one here has this name already",
			     text + strlen("found duplicate title "));
	else
		conf_problem(parsing.problems, cfg->line, "syntax: %s", text);
}

static cfg_opt_t conf_opt_of_key(const struct conf_key *key)
{
	cfg_opt_t opt = CFG_STR(key->name, NULL, CFGF_NODEFAULT);

	if (conf_key_is_list(key))
		opt.flags |= CFGF_LIST;
	opt.validcb = conf_value_seen;
	return opt;
}

/* Every section may repeat for libconfuse: conf.c says what may not. */
static cfg_opt_t conf_opt_of_section(enum conf_section section,
				     cfg_opt_t *subopts)
{
	cfg_opt_t opt =
		CFG_SEC(conf_section_name(section), subopts, CFGF_MULTI);

	if (section == CONF_SEC_TUN || section == CONF_SEC_LISTEN ||
	    section == CONF_SEC_POOL || section == CONF_SEC_GROUP ||
	    section == CONF_SEC_BACKEND)
		opt.flags |= CFGF_TITLE | CFGF_NO_TITLE_DUPES;
	return opt;
}

#define CONF_OPTS_MAX 24 /* keys and sections in one section */

static cfg_t *conf_tree_init(void)
{
	static const struct {
		enum conf_section section, inside;
	} nesting[] = {
		/* innermost first */
		{ CONF_SEC_BACKEND, CONF_SEC_GROUP },
		{ CONF_SEC_GROUP, CONF_SEC_POOL },
		{ CONF_SEC_POOL, CONF_SEC_TOP },
		{ CONF_SEC_TUN, CONF_SEC_TOP },
		{ CONF_SEC_LISTEN, CONF_SEC_TOP },
		{ CONF_SEC_CONTROL, CONF_SEC_TOP },
		{ CONF_SEC_ATTACH, CONF_SEC_TOP },
		{ CONF_SEC_METRICS, CONF_SEC_TOP },
	};
	cfg_opt_t opts[CONF_SECTIONS][CONF_OPTS_MAX] = { 0 };
	size_t n[CONF_SECTIONS] = { 0 };
	enum conf_section s, to;

	for (size_t i = 0; i < conf_n_keys; i++) {
		s = conf_keys[i].section;
		opts[s][n[s]++] = conf_opt_of_key(&conf_keys[i]);
		assert(n[s] < CONF_OPTS_MAX);
	}
	for (size_t i = 0; i < ARRAY_SIZE(nesting); i++) {
		to = nesting[i].inside;
		s = nesting[i].section;
		opts[to][n[to]++] = conf_opt_of_section(s, opts[s]);
		assert(n[to] < CONF_OPTS_MAX);
	}
	return cfg_init(opts[CONF_SEC_TOP], CFGF_NONE);
}

/* One pass; parsing.unknown says whether another one makes sense. */
static int conf_tree_pass(struct conf_tree *tree, char *text)
{
	unsigned int before = parsing.problems->n;
	FILE *fp;
	int rc;

	parsing.unknown[0] = '\0';
	parsing.out_of_memory = false;
	tree->n_lines = 0;
	tree->root = conf_tree_init();
	if (!tree->root)
		return -ENOMEM;
	cfg_set_error_function(tree->root, conf_syntax_error);
	fp = fmemopen(text, strlen(text), "r");
	if (!fp)
		return -ENOMEM;
	rc = cfg_parse_fp(tree->root, fp);
	fclose(fp);
	if (parsing.out_of_memory)
		return -ENOMEM;
	tree->broken = rc != CFG_SUCCESS;
	/* At a key without a name, "", libconfuse stops and says nothing. */
	if (tree->broken && parsing.problems->n == before)
		conf_problem(parsing.problems, tree->root->line,
			     "syntax: a key without a name from here on");
	return 0;
}

int conf_tree_parse(struct conf_tree *ret_tree, char *text,
		    struct conf_problems *p)
{
	struct conf_problems *known = p, *again;
	int rc;

	*ret_tree = (struct conf_tree){ 0 };
	parsing.tree = ret_tree;
	again = calloc(1, sizeof(*again));
	if (!again)
		return -ENOMEM;
	for (int i = 0;; i++) {
		/* what a pass finds is what the one before found, and more */
		*again = *known;
		parsing.problems = again;
		rc = conf_tree_pass(ret_tree, text);
		if (rc < 0)
			break;
		if (parsing.unknown[0] == '\0' || i == CONF_UNKNOWN_MAX ||
		    !conf_text_blank(text, parsing.unknown_line,
				     parsing.unknown)) {
			*known = *again;
			break;
		}
		conf_problem(
			known, parsing.unknown_line, "%s",
			again->list[min_u32(again->n, CONF_PROBLEMS_MAX) - 1]
				.text);
		cfg_free(ret_tree->root);
		ret_tree->root = NULL;
	}
	free(again);
	return rc;
}

void conf_tree_fini(struct conf_tree *tree)
{
	if (tree->root)
		cfg_free(tree->root);
	free(tree->lines);
	*tree = (struct conf_tree){ 0 };
}
