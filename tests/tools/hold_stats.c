/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/hold.h"

#include <string.h>

#define HOLD_OCTAVE 8u /* bins of each doubling */

static const char *const hold_state_names[HOLD_STATES] = {
	[HOLD_CLOSED] = "closed", [HOLD_CONNECTING] = "connecting",
	[HOLD_IDLE] = "idle",	  [HOLD_BUSY] = "busy",
	[HOLD_ENDING] = "ending", [HOLD_DONE] = "done",
	[HOLD_FAILED] = "failed",
};

static const char *const hold_failure_names[HOLD_FAILURES] = {
	[HOLD_RESET] = "resets",     [HOLD_REFUSED] = "refused",
	[HOLD_EOF] = "eofs",	     [HOLD_CORRUPT] = "corrupt",
	[HOLD_SURPLUS] = "surplus",  [HOLD_ERROR] = "errors",
	[HOLD_TIMEOUT] = "timeouts",
};

/* --- histograms */

static uint32_t hold_bin(uint64_t us)
{
	uint32_t octave;

	if (us < HOLD_OCTAVE)
		return (uint32_t)us;
	octave = 63u - (uint32_t)__builtin_clzll(us);
	return (octave - 2) * HOLD_OCTAVE +
	       (uint32_t)((us >> (octave - 3)) & (HOLD_OCTAVE - 1));
}

/* The greatest duration that falls into a bin. */
static uint64_t hold_bin_max(uint32_t bin)
{
	uint32_t octave = bin / HOLD_OCTAVE + 2;

	if (bin < HOLD_OCTAVE)
		return bin;
	return (((uint64_t)HOLD_OCTAVE + bin % HOLD_OCTAVE + 1)
		<< (octave - 3)) -
	       1;
}

static void hold_histogram_add(struct hold_histogram *hg, uint64_t us)
{
	hg->bins[hold_bin(us)]++;
	hg->n++;
	if (us > hg->max_us)
		hg->max_us = us;
}

/* The duration that a share of all, in thousandths, did not exceed. */
static uint64_t hold_histogram_quantile(const struct hold_histogram *hg,
					uint32_t permille)
{
	uint64_t want = (hg->n * permille + 999) / 1000, seen = 0;

	for (uint32_t i = 0; i < HOLD_BINS; i++) {
		seen += hg->bins[i];
		if (seen >= want && seen > 0)
			return hold_bin_max(i) < hg->max_us ? hold_bin_max(i)
							    : hg->max_us;
	}
	return hg->max_us;
}

static void hold_histogram_print(const struct hold_histogram *hg,
				 const char *name, FILE *out)
{
	fprintf(out,
		"\"%s\": {\"n\": %llu, \"p50_ms\": %.1f, \"p90_ms\": %.1f, "
		"\"p99_ms\": %.1f, \"p999_ms\": %.1f, \"max_ms\": %.1f}",
		name, (unsigned long long)hg->n,
		(double)hold_histogram_quantile(hg, 500) / 1e3,
		(double)hold_histogram_quantile(hg, 900) / 1e3,
		(double)hold_histogram_quantile(hg, 990) / 1e3,
		(double)hold_histogram_quantile(hg, 999) / 1e3,
		(double)hg->max_us / 1e3);
}

/* --- counting */

void hold_tally_begin(struct hold_tally *t, uint64_t now_us)
{
	memset(t, 0, sizeof(*t));
	t->began_us = now_us;
}

void hold_stats_pause(struct hold_stats *s, uint64_t us)
{
	if (!s->ended)
		hold_histogram_add(&s->all.pause, us);
	hold_histogram_add(&s->mark.pause, us);
}

void hold_stats_connect(struct hold_stats *s, uint64_t us)
{
	hold_histogram_add(&s->all.connect, us);
	hold_histogram_add(&s->mark.connect, us);
}

void hold_stats_fail(struct hold_stats *s, const struct hold_incident *what)
{
	s->all.failed[what->what]++;
	s->mark.failed[what->what]++;
	if (s->n_incidents < HOLD_FAILURES_MAX)
		s->incidents[s->n_incidents++] = *what;
}

/* --- printing */

static void hold_tally_print(const struct hold_tally *t, FILE *out)
{
	fprintf(out,
		"\"requests\": %llu, \"bytes_out\": %llu, \"bytes_in\": %llu, "
		"\"opened\": %llu, \"ended\": %llu, ",
		(unsigned long long)t->requests,
		(unsigned long long)t->bytes_out,
		(unsigned long long)t->bytes_in, (unsigned long long)t->opened,
		(unsigned long long)t->ended);
	for (int i = 0; i < HOLD_FAILURES; i++)
		fprintf(out, "\"%s\": %llu, ", hold_failure_names[i],
			(unsigned long long)t->failed[i]);
	hold_histogram_print(&t->pause, "pause", out);
	fputs(", ", out);
	hold_histogram_print(&t->connect, "connect", out);
}

/* What is outstanding: the longest wait, and how many began before the mark. */
static void hold_waiting_print(const struct hold *h, FILE *out)
{
	const struct hold_conn *longest = NULL;
	uint32_t before = 0, waiting = 0;

	for (uint32_t i = 0; i < h->opt.connections; i++) {
		const struct hold_conn *c = &h->conns[i];

		if (!hold_conn_waits(c))
			continue;
		waiting++;
		before += c->began_us < h->stats.mark.began_us;
		if (!longest || c->began_us < longest->began_us)
			longest = c;
	}
	fprintf(out,
		", \"waiting\": %u, \"before_mark\": %u, \"oldest_ms\": %.1f",
		waiting, before,
		longest ? (double)(h->now_us - longest->began_us) / 1e3 : 0);
	if (longest)
		fprintf(out,
			", \"oldest\": {\"conn\": %u, \"life\": %u, \"port\": %u, "
			"\"allowed\": %llu, \"sent\": %llu, \"received\": %llu}",
			longest->number, longest->life, hold_conn_port(longest),
			(unsigned long long)longest->allowed,
			(unsigned long long)longest->sent,
			(unsigned long long)longest->received);
}

static void hold_states_print(const struct hold *h, FILE *out)
{
	fputs(", \"states\": {", out);
	for (int i = 0; i < HOLD_STATES; i++)
		fprintf(out, "%s\"%s\": %u", i ? ", " : "", hold_state_names[i],
			h->by_state[i]);
	fputs("}", out);
}

void hold_stats_print(const struct hold *h, const char *kind, FILE *out)
{
	fprintf(out, "{\"%s\": %u, \"ms\": %.1f, ", kind, h->stats.marks,
		(double)(h->now_us - h->stats.mark.began_us) / 1e3);
	hold_tally_print(&h->stats.mark, out);
	hold_waiting_print(h, out);
	hold_states_print(h, out);
	fputs("}\n", out);
	fflush(out);
}

static void hold_incident_print(const struct hold_incident *i, FILE *out)
{
	fprintf(out,
		"{\"what\": \"%s\", \"state\": \"%s\", \"error\": \"%s\", "
		"\"conn\": %u, \"life\": %u, \"port\": %u, \"at_ms\": %.1f, "
		"\"sent\": %llu, \"received\": %llu, \"waited_ms\": %.1f}",
		hold_failure_names[i->what], hold_state_names[i->state],
		i->err ? strerror(i->err) : "", i->conn, i->life, i->port,
		(double)i->at_us / 1e3, (unsigned long long)i->sent,
		(unsigned long long)i->received, (double)i->waited_us / 1e3);
}

bool hold_result_print(const struct hold *h, FILE *out)
{
	const struct hold_stats *s = &h->stats;
	bool good = h->by_state[HOLD_DONE] == h->opt.connections;

	fprintf(out, "{\"ok\": %s, \"ms\": %.1f, \"connections\": %u, ",
		good ? "true" : "false",
		(double)(h->now_us - s->all.began_us) / 1e3,
		h->opt.connections);
	hold_tally_print(&s->all, out);
	fprintf(out, ", \"wrong_bytes\": %llu",
		(unsigned long long)s->wrong_bytes);
	hold_states_print(h, out);
	fputs(", \"incidents\": [", out);
	for (uint32_t i = 0; i < s->n_incidents; i++) {
		fputs(i ? ", " : "", out);
		hold_incident_print(&s->incidents[i], out);
	}
	fputs("]}\n", out);
	fflush(out);
	return good;
}
