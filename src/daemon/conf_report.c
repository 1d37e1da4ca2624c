/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/conf_load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

/* A problem is one line, whatever it quotes. */
static void conf_blank_controls(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void conf_problem(struct conf_problems *p, int line, const char *fmt, ...)
{
	struct conf_problem *one;
	va_list ap;

	if (p->n < CONF_PROBLEMS_MAX) {
		one = &p->list[p->n];
		one->line = line;
		one->seq = p->n;
		va_start(ap, fmt);
		vsnprintf(one->text, sizeof(one->text), fmt, ap);
		va_end(ap);
		conf_blank_controls(one->text);
	}
	p->n++;
}

static int conf_problem_order(const void *a, const void *b)
{
	const struct conf_problem *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void conf_problems_report(struct conf_problems *p, const char *path,
			  conf_report report, void *arg)
{
	unsigned int shown = min_u32(p->n, CONF_PROBLEMS_MAX);
	char text[CONF_LINE_BYTES + 4096];

	qsort(p->list, shown, sizeof(p->list[0]), conf_problem_order);
	for (unsigned int i = 0; i < shown; i++) {
		if (p->list[i].line > 0)
			snprintf(text, sizeof(text), "%.4000s:%d: %s", path,
				 p->list[i].line, p->list[i].text);
		else
			snprintf(text, sizeof(text), "%.4000s: %s", path,
				 p->list[i].text);
		report(arg, text);
	}
	if (p->n > shown) {
		snprintf(text, sizeof(text), "%.4000s: and %u problems more",
			 path, p->n - shown);
		report(arg, text);
	}
}
