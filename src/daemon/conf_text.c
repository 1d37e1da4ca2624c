/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_text - the text of a configuration file, made ready for libconfuse.
 *
 * libconfuse counts lines wrongly behind comments, and a string without an end
 * leaves its scanner in a state that spoils the next file. So comments are
 * blanked out, and the ends of strings checked, before it sees anything. The
 * scanners here know strings, comments, braces and words, as libconfuse's does.
 *
 * I1: no step changes the number of a line.
 */
#include "daemon/conf_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A list in a backend in a group in a pool is 4. */
#define CONF_DEPTH_MAX 16

/* Reads all of fd; NULL and a negative errno in ret_err. */
static char *conf_text_slurp(int fd, size_t *ret_len, int *ret_err)
{
	size_t len = 0, cap = 64u * 1024u;
	char *text = malloc(cap), *more;
	ssize_t n;

	while (text) {
		n = read(fd, text + len, cap - len - 2);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len > CONF_FILE_MAX_BYTES) {
			*ret_err = n < 0 ? -errno : -EFBIG;
			free(text);
			return NULL;
		}
		if (n == 0) {
			*ret_len = len;
			return text;
		}
		len += (size_t)n;
		if (cap - len > cap / 2)
			continue;
		more = realloc(text, cap * 2);
		if (!more)
			break;
		text = more;
		cap *= 2;
	}
	free(text);
	*ret_err = -ENOMEM;
	return NULL;
}

/* What ends the quoted string or comment that starts at s. */
struct conf_span {
	const char *what;
	size_t len; /* 0: nothing starts here */
	bool closed;
	bool comment;
};

static struct conf_span conf_text_string(const char *s)
{
	struct conf_span span = { .what = "string" };
	size_t i = 1;

	while (s[i] != '\0' && s[i] != s[0])
		i += s[i] == '\\' && s[i + 1] != '\0' ? 2 : 1;
	span.closed = s[i] != '\0';
	span.len = i + (span.closed ? 1 : 0);
	return span;
}

static struct conf_span conf_text_span(const char *s)
{
	struct conf_span span = { .what = "comment",
				  .closed = true,
				  .comment = true };
	const char *end;

	if (*s == '"' || *s == '\'')
		return conf_text_string(s);
	if (*s == '#' || (s[0] == '/' && s[1] == '/')) {
		span.len = strcspn(s, "\n");
	} else if (s[0] == '/' && s[1] == '*') {
		end = strstr(s + 2, "*/");
		span.closed = end != NULL;
		span.len = end ? (size_t)(end + 2 - s) : strlen(s);
	}
	return span;
}

/* Overwrites all but the ends of lines, so that lines keep their numbers. */
static void conf_text_erase(char *from, const char *to)
{
	for (; from < to; from++)
		if (*from != '\n')
			*from = ' ';
}

static int conf_text_count_lines(const char *from, const char *to)
{
	int n = 0;

	for (; from < to; from++)
		n += *from == '\n';
	return n;
}

/* The token at or after s: sets ret_end behind it; NULL at the text's end. */
static char *conf_text_token(char *s, char **ret_end)
{
	s += strspn(s, " \t\r\n");
	if (*s == '\0')
		return NULL;
	if (*s == '"' || *s == '\'')
		*ret_end = s + conf_text_string(s).len;
	else if (strchr("{}()=,", *s))
		*ret_end = s + 1;
	else if (s[0] == '+' && s[1] == '=')
		*ret_end = s + 2;
	else
		*ret_end = s + 1 + strcspn(s + 1, " \t\r\n\"'{}()=,+");
	return s;
}

static int conf_text_strip_comments(char *text, struct conf_problems *p)
{
	struct conf_span span;
	int line = 1;

	for (char *s = text; *s != '\0';) {
		span = conf_text_span(s);
		if (span.len == 0) {
			line += *s++ == '\n';
			continue;
		}
		if (!span.closed) {
			conf_problem(
				p, line,
				"syntax: the %s that begins here has no end",
				span.what);
			return -EINVAL;
		}
		line += conf_text_count_lines(s, s + span.len);
		if (span.comment)
			conf_text_erase(s, s + span.len);
		s += span.len;
	}
	return 0;
}

/* libconfuse takes the end of the file for any number of closing braces. */
static int conf_text_check_braces(char *text, struct conf_problems *p)
{
	int open_lines[CONF_DEPTH_MAX], depth = 0, line = 1;
	char *s = text, *tok, *end;

	for (; (tok = conf_text_token(s, &end)); s = end) {
		line += conf_text_count_lines(s, tok);
		if (*tok == '{' && depth == CONF_DEPTH_MAX) {
			conf_problem(p, line,
				     "syntax: sections are nested too deeply");
			return -EINVAL;
		}
		if (*tok == '{')
			open_lines[depth++] = line;
		else if (*tok == '}' && depth-- == 0) {
			conf_problem(p, line,
				     "syntax: a closing brace too many");
			return -EINVAL;
		}
		line += conf_text_count_lines(tok, end);
	}
	if (depth == 0)
		return 0;
	conf_problem(p, open_lines[depth - 1],
		     "syntax: the brace that opens here is not closed");
	return -EINVAL;
}

char *conf_text_load(const char *path, struct conf_problems *p)
{
	size_t len = 0;
	int err = 0, fd;
	char *text;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		conf_problem(p, 0, "cannot be read: %s", strerror(errno));
		return NULL;
	}
	text = conf_text_slurp(fd, &len, &err);
	close(fd);
	if (!text) {
		conf_problem(p, 0, "cannot be read: %s", strerror(-err));
		return NULL;
	}
	/* libconfuse wants a line's end at the end, and some text at all */
	text[len] = '\n';
	text[len + 1] = '\0';
	if (strlen(text) != len + 1) {
		conf_problem(
			p, conf_text_count_lines(text, text + strlen(text)) + 1,
			"syntax: a NUL byte: this is no text file");
		goto fail;
	}
	if (conf_text_strip_comments(text, p) < 0 ||
	    conf_text_check_braces(text, p) < 0)
		goto fail;
	return text;
fail:
	free(text);
	return NULL;
}

/* Behind the brace that closes the one at s, or NULL. */
static char *conf_text_closing(char *s)
{
	int depth = 0;
	char *tok, *end;

	while ((tok = conf_text_token(s, &end))) {
		depth += *tok == '{';
		depth -= *tok == '}';
		if (depth == 0)
			return end;
		s = end;
	}
	return NULL;
}

/* Behind the statement whose name ends at s, or NULL when it is none. */
static char *conf_text_statement(char *s)
{
	char *end, *tok = conf_text_token(s, &end);

	if (!tok)
		return NULL;
	if (*tok == '=' || *tok == '+') {
		tok = conf_text_token(end, &end);
		if (!tok)
			return NULL;
		return *tok == '{' ? conf_text_closing(tok) : end;
	}
	if (*tok != '{' && !strchr("}()=,", *tok))
		tok = conf_text_token(end, &end);
	return tok && *tok == '{' ? conf_text_closing(tok) : NULL;
}

bool conf_text_blank(char *text, int line, const char *name)
{
	char *s = text, *tok, *end, *stop;
	size_t len = strlen(name);

	for (int i = 1; i < line && s; i++) {
		s = strchr(s, '\n');
		s = s ? s + 1 : NULL;
	}
	while (s && (tok = conf_text_token(s, &end)) &&
	       conf_text_count_lines(s, tok) == 0) {
		s = end;
		if ((size_t)(end - tok) != len || strncmp(tok, name, len) != 0)
			continue;
		stop = conf_text_statement(end);
		if (stop) {
			conf_text_erase(tok, stop);
			return true;
		}
	}
	return false;
}
