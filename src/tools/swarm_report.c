/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report - see swarm_report.h.
 *
 * Theory of operation
 *
 * A mark is taken whenever a phase begins, and holds all that is counted, and
 * the processor time and memory of this process and of those that are watched.
 * What happened in a phase is the difference of two marks. Names of counters
 * and of violations come from the tables in swarm_counters.h.
 *
 * Rates count what was within the phase: exchanges that ended in the drain
 * belong to none, but are in the sums.
 */
#include "tools/swarm_report.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"

#define REPORT_DIGITS 3

/* --- marks ------------------------------------------------------------- */

static uint64_t report_tv_us(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * USEC_PER_SEC + (uint64_t)tv->tv_usec;
}

void swarm_report_mark(struct swarm_report *r, const struct swarm_load *l)
{
	struct swarm_mark *m = &r->marks[l->phase];
	struct swarm_usage self = { 0 };
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	(void)swarm_watch_read(getpid(), &self);
	*m = (struct swarm_mark){
		.at_ns = l->phase_ns,
		.count = l->tcp->count,
		.user_us = report_tv_us(&usage.ru_utime),
		.system_us = report_tv_us(&usage.ru_stime),
		.resident_bytes = self.resident_bytes,
		.n_established = l->tcp->conns.n_established,
	};
	for (uint32_t i = 0; i < l->conf->n_watch; i++)
		m->watched[i] =
			swarm_watch_read(l->conf->watch[i], &m->watch[i]) == 0;
}

/* --- progress ---------------------------------------------------------- */

void swarm_report_progress(struct swarm_report *r, const struct swarm_load *l)
{
	const struct swarm_tcp *t = l->tcp;
	const struct swarm_counters *now = &t->count, *then = &r->line_count;
	double s;

	if (r->line_ns == 0)
		r->line_ns = t->now_ns;
	if (t->now_ns - r->line_ns < NSEC_PER_SEC)
		return;
	s = (double)(t->now_ns - r->line_ns) / (double)NSEC_PER_SEC;
	fprintf(stderr,
		"%-7s %u established, %.0f connects/s, %.0f exchanges/s, "
		"%u under way, %.0f SYNs/s of flood, %llu lost, %llu failed, "
		"%llu violations\n",
		swarm_phase_names[l->phase], t->conns.n_established,
		(double)(now->connected - then->connected) / s,
		(double)(now->exchanges - then->exchanges) / s,
		t->conns.by_kind[SWARM_REQUEST],
		(double)(now->flood_sent - then->flood_sent) / s,
		(unsigned long long)now->lost, (unsigned long long)now->failed,
		(unsigned long long)t->n_violations);
	r->line_ns = t->now_ns;
	r->line_count = *now;
}

/* --- the object -------------------------------------------------------- */

static void report_number(struct json_object *o, const char *name, uint64_t n)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)n));
}

static void report_text(struct json_object *o, const char *name,
			const char *text)
{
	json_object_object_add(o, name, json_object_new_string(text));
}

static void report_real(struct json_object *o, const char *name, double v)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*f", REPORT_DIGITS, v);
	json_object_object_add(o, name, json_object_new_double_s(v, text));
}

static void report_bool(struct json_object *o, const char *name, bool v)
{
	json_object_object_add(o, name, json_object_new_boolean(v));
}

static double report_s(uint64_t from_ns, uint64_t to_ns)
{
	return (double)(to_ns - from_ns) / (double)NSEC_PER_SEC;
}

static double report_per(uint64_t n, double s)
{
	return s > 0 ? (double)n / s : 0;
}

static struct json_object *report_conf(const struct swarm_conf *c)
{
	static const char *const ends[] = { "fin", "reset", "vanish" };
	struct json_object *o = json_object_new_object();
	char text[SWARM_ADDR_TEXT_BYTES];

	report_text(o, "connect",
		    swarm_endpoint_text(&c->server, c->port, text));
	report_number(o, "connections", c->connections);
	report_number(o, "connect_rate", c->connect_rate);
	report_real(o, "hold_s", c->hold_s);
	report_real(o, "duration_s", c->duration_s);
	report_number(o, "rate", c->rate);
	report_number(o, "outstanding", c->outstanding);
	report_number(o, "request_bytes", c->request_bytes);
	report_number(o, "reply_bytes", c->reply_bytes);
	report_number(o, "churn", c->churn);
	report_number(o, "syn_flood", c->flood);
	report_text(o, "sources", swarm_prefix_text(&c->sources, text));
	report_text(o, "end", ends[c->end]);
	report_number(o, "seed", c->seed);
	report_number(o, "mtu", c->mtu);
	report_number(o, "ack_delay_ms", c->ack_delay_ms);
	report_number(o, "tick_us", c->tick_us);
	report_bool(o, "verify", c->verify);
	report_bool(o, "timestamps", c->timestamps);
	report_bool(o, "offload", c->offload);
	report_bool(o, "direct", c->direct);
	return o;
}

static void report_percentile(struct json_object *o, const char *name,
			      const struct swarm_hist *h, uint32_t per_million)
{
	report_real(o, name,
		    (double)swarm_hist_percentile(h, per_million) /
			    (double)NSEC_PER_USEC);
}

/* In microseconds. */
static struct json_object *report_hist(const struct swarm_hist *h)
{
	struct json_object *o = json_object_new_object();

	report_number(o, "n", h->n);
	report_real(o, "mean",
		    (double)swarm_hist_mean(h) / (double)NSEC_PER_USEC);
	report_percentile(o, "p50", h, 500000);
	report_percentile(o, "p90", h, 900000);
	report_percentile(o, "p99", h, 990000);
	report_percentile(o, "p99.9", h, 999000);
	report_real(o, "max", (double)h->max_ns / (double)NSEC_PER_USEC);
	return o;
}

#define REPORT_COUNTER(name, text) report_number(o, #name, c->name);
static struct json_object *report_counters(const struct swarm_counters *c)
{
	struct json_object *o = json_object_new_object();

	SWARM_COUNTERS(REPORT_COUNTER)
	return o;
}

#define REPORT_VIOLATION(name, text) \
	report_number(o, #name, t->violations[SWARM_VIOLATION_##name]);
static struct json_object *report_violations(const struct swarm_tcp *t)
{
	struct json_object *o = json_object_new_object();

	report_number(o, "total", t->n_violations);
	SWARM_VIOLATIONS(REPORT_VIOLATION)
	return o;
}

/* What it took from one mark to another; exchanges may be none. */
static struct json_object *report_cpu(const struct swarm_mark *from,
				      const struct swarm_mark *to)
{
	uint64_t user_us = to->user_us - from->user_us;
	uint64_t system_us = to->system_us - from->system_us;
	uint64_t exchanges = to->count.exchanges - from->count.exchanges;
	struct json_object *o = json_object_new_object();

	report_real(o, "elapsed_s", report_s(from->at_ns, to->at_ns));
	report_real(o, "user_s", (double)user_us / (double)USEC_PER_SEC);
	report_real(o, "system_s", (double)system_us / (double)USEC_PER_SEC);
	report_real(o, "us_per_exchange",
		    report_per(user_us + system_us, (double)exchanges));
	return o;
}

/* A process that is watched, over the phases of connecting and of load. */
static struct json_object *report_watched(const struct swarm_report *r,
					  const struct swarm_conf *conf,
					  uint32_t i)
{
	const struct swarm_mark *begin = &r->marks[SWARM_PHASE_CONNECT];
	const struct swarm_mark *hold = &r->marks[SWARM_PHASE_HOLD];
	const struct swarm_mark *load = &r->marks[SWARM_PHASE_LOAD];
	const struct swarm_mark *drain = &r->marks[SWARM_PHASE_DRAIN];
	struct json_object *o = json_object_new_object();
	char name[SWARM_WATCH_NAME_BYTES];
	uint64_t connect_us, load_us;

	swarm_watch_name(conf->watch[i], name);
	report_number(o, "pid", (uint64_t)conf->watch[i]);
	report_text(o, "name", name);
	report_bool(o, "alive", drain->watched[i]);
	if (!begin->watched[i] || !drain->watched[i])
		return o;
	connect_us = hold->watch[i].cpu_us - begin->watch[i].cpu_us;
	load_us = drain->watch[i].cpu_us - load->watch[i].cpu_us;
	report_real(o, "connect_cpu_s", (double)connect_us / USEC_PER_SEC);
	report_real(o, "load_cpu_s", (double)load_us / USEC_PER_SEC);
	report_real(o, "load_us_per_exchange",
		    report_per(load_us, (double)(drain->count.exchanges -
						 load->count.exchanges)));
	report_number(o, "resident_bytes_before",
		      begin->watch[i].resident_bytes);
	report_number(o, "resident_bytes_idle", load->watch[i].resident_bytes);
	report_number(o, "resident_bytes_load", drain->watch[i].resident_bytes);
	return o;
}

static struct json_object *report_memory(const struct swarm_mark *idle)
{
	struct json_object *o = json_object_new_object();

	report_number(o, "record_bytes", sizeof(struct swarm_rec));
	report_number(o, "resident_bytes", idle->resident_bytes);
	report_number(o, "established", idle->n_established);
	report_real(o, "bytes_per_client",
		    report_per(idle->resident_bytes,
			       (double)idle->n_established));
	return o;
}

/* The figures that everybody looks for. */
static void report_summary(struct json_object *o, const struct swarm_report *r,
			   const struct swarm_tcp *t)
{
	const struct swarm_mark *m = r->marks;
	double connect_s = report_s(m[SWARM_PHASE_CONNECT].at_ns,
				    m[SWARM_PHASE_HOLD].at_ns);
	double load_s =
		report_s(m[SWARM_PHASE_LOAD].at_ns, m[SWARM_PHASE_DRAIN].at_ns);
	const struct swarm_counters *hold = &m[SWARM_PHASE_HOLD].count;
	const struct swarm_counters *load = &m[SWARM_PHASE_LOAD].count;
	const struct swarm_counters *drain = &m[SWARM_PHASE_DRAIN].count;

	report_number(o, "connected", t->count.connected);
	report_number(o, "failed", t->count.failed);
	report_number(o, "lost", t->count.lost);
	report_real(o, "elapsed_s",
		    report_s(m[SWARM_PHASE_CONNECT].at_ns, t->now_ns));
	report_real(o, "connect_s", connect_s);
	report_real(o, "connects_per_s",
		    report_per(hold->connected, connect_s));
	report_real(o, "load_s", load_s);
	report_number(o, "exchanges", t->count.exchanges);
	report_real(o, "exchanges_per_s",
		    report_per(drain->exchanges - load->exchanges, load_s));
	report_number(o, "unanswered", t->count.unanswered);
	report_number(o, "bytes_sent", t->count.bytes_sent);
	report_number(o, "bytes_received", t->count.bytes_received);
	report_number(o, "pure_acks", t->count.pure_acks);
	report_number(o, "resets", t->count.resets);
	report_number(o, "retransmissions_sent", t->count.retransmissions_sent);
	report_number(o, "retransmissions_seen", t->count.retransmissions_seen);
	report_number(o, "flood_sent", t->count.flood_sent);
}

static struct json_object *report_object(const struct swarm_report *r,
					 const struct swarm_load *l)
{
	const struct swarm_mark *m = r->marks;
	const struct swarm_tcp *t = l->tcp;
	struct json_object *o = json_object_new_object();
	struct json_object *watched = json_object_new_array();

	report_text(o, "version", PACKAGE_VERSION);
	report_bool(o, "ok", swarm_report_ok(l));
	json_object_object_add(o, "config", report_conf(l->conf));
	report_summary(o, r, t);
	json_object_object_add(o, "latency_us", report_hist(&t->exchange_hist));
	json_object_object_add(o, "connect_latency_us",
			       report_hist(&t->connect_hist));
	report_number(o, "late_requests", l->late);
	json_object_object_add(o, "violations", report_violations(t));
	json_object_object_add(o, "counters", report_counters(&t->count));
	report_number(o, "send_failed", t->tun->send_failed);
	json_object_object_add(o, "memory",
			       report_memory(&m[SWARM_PHASE_LOAD]));
	json_object_object_add(o, "connect_cpu",
			       report_cpu(&m[SWARM_PHASE_CONNECT],
					  &m[SWARM_PHASE_HOLD]));
	json_object_object_add(o, "load_cpu",
			       report_cpu(&m[SWARM_PHASE_LOAD],
					  &m[SWARM_PHASE_DRAIN]));
	for (uint32_t i = 0; i < l->conf->n_watch; i++)
		json_object_array_add(watched, report_watched(r, l->conf, i));
	json_object_object_add(o, "watched", watched);
	return o;
}

bool swarm_report_ok(const struct swarm_load *l)
{
	const struct swarm_counters *c = &l->tcp->count;

	return l->tcp->n_violations == 0 && c->failed == 0 && c->lost == 0 &&
	       c->unanswered == 0 && c->not_begun == 0 &&
	       c->connected >= l->tcp->conns.n;
}

int swarm_report_write(const struct swarm_report *r, const struct swarm_load *l)
{
	const char *path = l->conf->json;
	struct json_object *o = report_object(r, l);
	FILE *fp = path ? fopen(path, "we") : stdout;
	int rc = fp ? 0 : -errno;

	if (fp &&
	    fprintf(fp, "%s\n",
		    json_object_to_json_string_ext(
			    o, JSON_C_TO_STRING_PRETTY |
				       JSON_C_TO_STRING_SPACED |
				       JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		rc = -errno;
	if (fp && (path ? fclose(fp) : fflush(fp)) != 0)
		rc = -errno;
	json_object_put(o);
	if (rc < 0)
		log_error("%s: the report cannot be written: %s",
			  path ? path : "standard output", strerror(-rc));
	return rc;
}
