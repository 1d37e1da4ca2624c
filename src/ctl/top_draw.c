/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_draw - a view as lines of text.
 *
 * Theory of operation
 *
 * Totals first, then four sections: pools, workers, groups, backends. A section
 * is a line of headings and a line per row. The sections share the lines that
 * are left: each gets what it needs, or else the others' leavings in turn, a
 * line at a time, groups and backends first. The last line of one that is cut
 * says how many rows are missing.
 *
 * Names stand to the left, as wide as the longest of the section but no wider
 * than TOP_NAME_WIDTH; then columns of fixed width, the most important first. A
 * narrow terminal shows less of them.
 */
#include "ctl/top_draw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"

#define TOP_CELL_BYTES 32
#define TOP_NAME_WIDTH 24

int top_page_init(struct top_page *page, unsigned int width, size_t height)
{
	*page = (struct top_page){
		.width = (unsigned int)clamp_u64(width, TOP_WIDTH_MIN,
						 TOP_WIDTH_MAX),
		.max = min_size(height, TOP_LINES_MAX),
	};
	page->rows = calloc(page->max + 1, sizeof(*page->rows));
	return page->rows ? 0 : -ENOMEM;
}

void top_page_fini(struct top_page *page)
{
	free(page->rows);
	*page = (struct top_page){ 0 };
}

void top_page_add(struct top_page *page, enum top_look look, const char *fmt,
		  ...)
{
	struct top_line *line = &page->rows[page->n];
	size_t len;
	va_list ap;

	if (page->n == page->max)
		return;
	va_start(ap, fmt);
	vsnprintf(line->text, page->width + 1, fmt, ap);
	va_end(ap);
	for (len = strlen(line->text); len > 0 && line->text[len - 1] == ' ';)
		line->text[--len] = '\0';
	line->look = look;
	page->n++;
}

/* --- cells ------------------------------------------------------------- */

/* "950", "12.3k", "4.5M": at most five characters up to a peta. */
static const char *top_scaled(char *cell, double n, double step,
			      const char *const *units)
{
	while (n >= step * 0.9995 && units[1]) {
		n /= step;
		units++;
	}
	if (units[0][0] == '\0' && n < 9.95 && n > 0 && n != (double)(int)n)
		snprintf(cell, TOP_CELL_BYTES, "%.1f", n);
	else
		snprintf(cell, TOP_CELL_BYTES,
			 units[0][0] == '\0' || n >= 99.95 ? "%.0f%s"
							   : "%.1f%s",
			 n, units[0]);
	return cell;
}

static const char *top_number(char *cell, double n)
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P", NULL };

	return top_scaled(cell, n, 1000, units);
}

static const char *top_bytes(char *cell, double n)
{
	static const char *const units[] = { "", "K", "M", "G", "T", "P", NULL };

	return top_scaled(cell, n, 1024, units);
}

/* "850us", "12.3ms", "4.5s"; "-" of nothing. */
static const char *top_time(char *cell, uint64_t us, uint64_t n)
{
	if (n == 0)
		snprintf(cell, TOP_CELL_BYTES, "-");
	else if (us < 1000)
		snprintf(cell, TOP_CELL_BYTES, "%" PRIu64 "us", us);
	else if (us < 100000)
		snprintf(cell, TOP_CELL_BYTES, "%.1fms", (double)us / 1e3);
	else if (us < 1000000)
		snprintf(cell, TOP_CELL_BYTES, "%.0fms", (double)us / 1e3);
	else
		snprintf(cell, TOP_CELL_BYTES, "%.1fs", (double)us / 1e6);
	return cell;
}

/* "[||||    ]" of width characters inside. */
static const char *top_bar(char *bar, size_t width, double share)
{
	size_t full;

	width = min_size(width, 60);
	share = share < 0 ? 0 : share > 1 ? 1 : share;
	full = (size_t)(share * (double)width + 0.5);
	bar[0] = '[';
	memset(bar + 1, '|', full);
	memset(bar + 1 + full, ' ', width - full);
	memcpy(bar + 1 + width, "]", 2);
	return bar;
}

/* --- rows -------------------------------------------------------------- */

static void top_draw_pool(struct top_page *page, const void *row)
{
	const struct top_pool *p = row;
	char used[TOP_CELL_BYTES], limit[TOP_CELL_BYTES], bar[64];
	double share = p->limit_bytes
			       ? (double)p->used_bytes / (double)p->limit_bytes
			       : 0;

	top_page_add(page, p->throttled ? TOP_ALARM : TOP_PLAIN,
		     "%-*.*s  %s %3.0f%% %6s/%-6s  %s", page->name_width,
		     page->name_width, p->name, top_bar(bar, 12, share),
		     share * 100, top_bytes(used, (double)p->used_bytes),
		     top_bytes(limit, (double)p->limit_bytes),
		     p->throttled ? "throttled" : "");
}

static void top_draw_worker(struct top_page *page, const void *row)
{
	const struct top_worker *w = row;
	char bar[64], in[TOP_CELL_BYTES], out[TOP_CELL_BYTES],
		conns[TOP_CELL_BYTES], active[TOP_CELL_BYTES];

	if (!w->answered) {
		top_page_add(page, TOP_ALARM,
			     "worker %" PRIu64 " does not answer", w->number);
		return;
	}
	top_page_add(page, TOP_PLAIN,
		     "%*" PRIu64 "  %s %3.0f%% %7s %7s %7s %7s",
		     page->name_width, w->number, top_bar(bar, 12, w->busy),
		     w->busy * 100, top_number(in, w->packets.in),
		     top_number(out, w->packets.out),
		     top_number(conns, (double)w->established),
		     top_number(active, (double)w->active));
}

static void top_draw_group(struct top_page *page, const void *row)
{
	const struct top_group *g = row;
	char conns[TOP_CELL_BYTES], wait[TOP_CELL_BYTES], min[TOP_CELL_BYTES],
		mout[TOP_CELL_BYTES], in[TOP_CELL_BYTES], out[TOP_CELL_BYTES],
		p50[TOP_CELL_BYTES], p99[TOP_CELL_BYTES];

	top_page_add(page, g->waiting ? TOP_ALARM : TOP_PLAIN,
		     "%-*.*s  %7s %7s %7s %7s %7s %7s %7s %7s",
		     page->name_width, page->name_width, g->name,
		     top_number(conns, (double)g->connections),
		     top_number(min, g->messages.in),
		     top_number(mout, g->messages.out),
		     top_bytes(in, g->bytes.in), top_bytes(out, g->bytes.out),
		     top_time(p50, g->p50_us, g->requests),
		     top_time(p99, g->p99_us, g->requests),
		     top_number(wait, (double)g->waiting));
}

static void top_draw_backend(struct top_page *page, const void *row)
{
	const struct top_backend *b = row;
	char inflight[TOP_CELL_BYTES], mean[TOP_CELL_BYTES],
		min[TOP_CELL_BYTES], mout[TOP_CELL_BYTES],
		streams[TOP_CELL_BYTES];
	bool well = strcmp(b->state, "up") == 0;

	top_page_add(page, well ? TOP_PLAIN : TOP_ALARM,
		     "%-*.*s  %7s %7s %7s %7s %7s  %-10s  %s", page->name_width,
		     page->name_width, b->name,
		     top_time(mean, b->mean_us, b->requests),
		     top_number(inflight, (double)b->inflight),
		     top_number(min, b->messages.in),
		     top_number(mout, b->messages.out),
		     top_number(streams, (double)b->streams), b->state,
		     b->group);
}

/* --- sections ---------------------------------------------------------- */

struct top_section {
	const char *title; /* of the column of names */
	const char *heading; /* of those behind it */
	const char *plural;
	const void *rows;
	size_t n, bytes;
	bool named;
	void (*draw)(struct top_page *page, const void *row);
	size_t lines; /* it may have, headings included */
};

/* In the order in which they are drawn. */
enum { TOP_SECTIONS = 4 };

static size_t top_section_wants(const struct top_section *s)
{
	return s->n ? s->n + 1 : 0;
}

/* Hand out `left` lines: heading and a row to each, then the rest in turn. */
static void top_share(struct top_section *sections, size_t left)
{
	bool any = true;

	for (size_t i = TOP_SECTIONS; i-- > 0;) {
		struct top_section *s = &sections[i];

		if (s->n && left >= 2) {
			s->lines = 2;
			left -= 2;
		}
	}
	while (any && left > 0) {
		any = false;
		for (size_t i = TOP_SECTIONS; i-- > 0 && left > 0;) {
			struct top_section *s = &sections[i];

			if (s->lines < 2 || s->lines >= top_section_wants(s))
				continue;
			s->lines++;
			left--;
			any = true;
		}
	}
}

/* Names stand first in each row, but for a worker's, which has a number. */
static int top_section_width(const struct top_section *s)
{
	size_t width = strlen(s->title);

	for (size_t i = 0; i < s->n && s->named; i++)
		width = max_size(width,
				 strlen((const char *)s->rows + i * s->bytes));
	return (int)min_size(width, TOP_NAME_WIDTH);
}

static void top_section_draw(struct top_page *page, const struct top_section *s)
{
	size_t rows = s->lines ? s->lines - 1 : 0;
	bool cut = rows < s->n;

	if (rows == 0)
		return;
	page->name_width = top_section_width(s);
	top_page_add(page, TOP_HEADING, "%-*s  %s", page->name_width, s->title,
		     s->heading);
	for (size_t i = 0; i < rows - (cut && rows > 1); i++)
		s->draw(page, (const char *)s->rows + i * s->bytes);
	if (cut && rows > 1)
		top_page_add(page, TOP_PLAIN, "... %zu more %s",
			     s->n - rows + 1, s->plural);
}

static void top_draw_totals(struct top_page *page, const struct top_view *v,
			    const struct top_settings *settings)
{
	char a[TOP_CELL_BYTES], b[TOP_CELL_BYTES], c[TOP_CELL_BYTES],
		d[TOP_CELL_BYTES];
	uint64_t min = v->uptime_ms / MSEC_PER_SEC / 60;

	top_page_add(page, TOP_PLAIN,
		     "xtcpd %s, up %" PRIu64 "d %02" PRIu64 ":%02" PRIu64
		     ", %zu workers; rates of %.1f s%s; groups by %s%s",
		     v->version, min / 1440, min / 60 % 24, min % 60,
		     v->n_workers, v->seconds,
		     v->since_start ? " since the start" : "",
		     top_sort_name(settings->sort),
		     settings->reverse ? ", reversed" : "");
	top_page_add(page, TOP_PLAIN,
		     "connections  %s established, %s active, %s half-open, "
		     "%s TIME-WAIT",
		     top_number(a, (double)v->established),
		     top_number(b, (double)v->active),
		     top_number(c, (double)v->half_open),
		     top_number(d, (double)v->time_wait));
	top_page_add(page, v->refused > 0 ? TOP_ALARM : TOP_PLAIN,
		     "             %s/s accepted, %s/s refused",
		     top_number(a, v->accepted), top_number(b, v->refused));
	top_page_add(page, TOP_PLAIN,
		     "messages     %s/s in, %s/s out; %sB/s in, %sB/s out",
		     top_number(a, v->messages.in),
		     top_number(b, v->messages.out), top_bytes(c, v->bytes.in),
		     top_bytes(d, v->bytes.out));
	top_page_add(page, v->device_dropped > 0 ? TOP_ALARM : TOP_PLAIN,
		     "segments     %s/s in, %s/s out, %s/s retransmitted, "
		     "%s/s dropped by the device",
		     top_number(a, v->segments.in),
		     top_number(b, v->segments.out),
		     top_number(c, v->retransmitted),
		     top_number(d, v->device_dropped));
	top_page_add(page, TOP_PLAIN,
		     "memory       %sB resident, %sB in the transmit buffer",
		     top_bytes(a, (double)v->process_bytes),
		     top_bytes(b, (double)v->transmit_bytes));
}

void top_draw(struct top_page *page, const struct top_view *v,
	      const struct top_settings *settings)
{
	struct top_section sections[TOP_SECTIONS] = {
		{ "POOL", "FILL                  USED/LIMIT", "pools", v->pools,
		  v->n_pools, sizeof(*v->pools), true, top_draw_pool, 0 },
		{ "WORKER",
		  "BUSY                PKT-I/s PKT-O/s   CONNS  ACTIVE",
		  "workers", v->workers, v->n_workers, sizeof(*v->workers),
		  false, top_draw_worker, 0 },
		{ "GROUP",
		  "  CONNS MSG-I/s MSG-O/s    IN/s   OUT/s     P50     P99"
		  " WAITING",
		  "groups", v->groups, v->n_groups, sizeof(*v->groups), true,
		  top_draw_group, 0 },
		{ "BACKEND",
		  "LATENCY IN-HAND MSG-I/s MSG-O/s STREAMS  STATE       GROUP",
		  "backends", v->backends, v->n_backends, sizeof(*v->backends),
		  true, top_draw_backend, 0 },
	};

	top_draw_totals(page, v, settings);
	top_share(sections, page->max - page->n);
	for (size_t i = 0; i < TOP_SECTIONS; i++)
		top_section_draw(page, &sections[i]);
}

void top_draw_help(struct top_page *page)
{
	static const char *const lines[] = {
		"n c m b l w   sort groups by name, connections, messages, bytes,",
		"              latency (P99), connections that wait for a backend",
		"r             the other way round",
		"+ -           longer, shorter interval",
		"space         refresh now",
		"h ?           this help, and back",
		"q             quit",
		"",
		"Latency is from a request's first bytes to the application's",
		"acknowledgement, of what was answered in the interval. A backend's is",
		"the mean; the slowest comes first.",
	};

	top_page_add(page, TOP_HEADING, "xtcpctl top");
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		top_page_add(page, TOP_PLAIN, "%s", lines[i]);
}
