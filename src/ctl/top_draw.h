/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_draw - a view as lines of text, for a terminal of any size or for none.
 */
#ifndef XTCP_CTL_TOP_DRAW_H
#define XTCP_CTL_TOP_DRAW_H

#include "ctl/top_view.h"

#define TOP_WIDTH_MIN 40u
#define TOP_WIDTH_MAX 500u
#define TOP_LINES_MAX 2000u

enum top_look { TOP_PLAIN, TOP_HEADING, TOP_ALARM };

struct top_line {
	enum top_look look;
	char text[TOP_WIDTH_MAX + 1]; /* ASCII; no blanks at the end */
};

struct top_page {
	struct top_line *rows; /* heap */
	size_t n, max;
	unsigned int width;
	int name_width; /* of the section that is being drawn */
};

/*
 * An empty page of so many columns (from TOP_WIDTH_MIN to TOP_WIDTH_MAX; others
 * are taken for these) and at most height lines. Returns 0 or -ENOMEM.
 */
int top_page_init(struct top_page *page, unsigned int width, size_t height);
void top_page_fini(struct top_page *page);

/* One line more, cut to the width; none when the page is full. */
__attribute__((format(printf, 3, 4))) void
top_page_add(struct top_page *page, enum top_look look, const char *fmt, ...);

/* What a person has set. */
struct top_settings {
	enum top_sort sort;
	bool reverse;
	double interval_s;
};

/*
 * All of the view that has room. When it has not, groups, backends, pools and
 * workers are cut, each in proportion, and say how many more there are.
 */
void top_draw(struct top_page *page, const struct top_view *view,
	      const struct top_settings *settings);

/* The keys. */
void top_draw_help(struct top_page *page);

#endif
