/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show - from the workers' snapshots to what an operator or a script reads.
 *
 * The names are an interface: scripts use them, xtcpctl(1) lists them. Each
 * function makes one command's result; an object that could not get memory is
 * null in it, which is as far as that is handled.
 */
#include "daemon/show.h"

#include <stdio.h>

#include "base/bytes.h"
#include "daemon/budget.h"
#include "daemon/conf_load.h"
#include "daemon/show_json.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

/* {"in": in, "out": out} */
static void show_both_ways(struct json_object *obj, const char *key,
			   uint64_t in, uint64_t out)
{
	struct json_object *inner = show_inside(obj, key);

	show_number(inner, "in", in);
	show_number(inner, "out", out);
}

static void show_connection_counts(struct json_object *obj,
				   uint64_t established, uint64_t active,
				   uint64_t half_open, uint64_t time_wait)
{
	struct json_object *inner = show_inside(obj, "connections");

	show_number(inner, "established", established);
	show_number(inner, "active", active);
	show_number(inner, "half_open", half_open);
	show_number(inner, "time_wait", time_wait);
}

/* Messages, bytes and segments by the counters' names. */
static void show_traffic(struct json_object *obj,
			 uint64_t (*count)(const void *, const char *),
			 const void *from)
{
	struct json_object *segments;

	show_number(obj, "accepted", count(from, "conn_accepted"));
	show_number(obj, "refused", count(from, "conn_refused"));
	show_both_ways(obj, "messages", count(from, "msgs_in"),
		       count(from, "msgs_out"));
	show_both_ways(obj, "bytes", count(from, "bytes_in"),
		       count(from, "bytes_out"));
	segments = show_inside(obj, "segments");
	show_number(segments, "in", count(from, "segs_in"));
	show_number(segments, "out", count(from, "segs_out"));
	show_number(segments, "retransmitted",
		    count(from, "segs_retransmitted"));
	show_number(segments, "pure_acks_out", count(from, "pure_acks_out"));
	show_number(segments, "pure_acks_saved",
		    count(from, "pure_acks_saved"));
}

static uint64_t show_count_total(const void *from, const char *name)
{
	return totals_counter(from, name);
}

static uint64_t show_count_worker(const void *from, const char *name)
{
	return totals_counter_of(from, name);
}

/* Ports of the host's own addresses, as "eth0 192.0.2.1:5222". */
static void show_own(struct json_object *obj, const struct conf_tun *tun)
{
	struct json_object *list;
	char port[INET6_ADDRSTRLEN + 8], text[sizeof(port) + 17];

	if (tun->n_own == 0)
		return;
	list = json_object_new_array();
	for (uint32_t i = 0; i < tun->n_own; i++) {
		conf_print_own(&tun->own[i], port, sizeof(port));
		snprintf(text, sizeof(text), "%s %s", tun->own[i].link, port);
		json_object_array_add(list, json_object_new_string(text));
	}
	json_object_object_add(obj, "listen", list);
}

struct json_object *show_info(const struct show_input *in)
{
	struct json_object *obj = json_object_new_object();
	const struct totals *t = in->totals;
	struct json_object *workers;

	show_text(obj, "version", PACKAGE_VERSION);
	show_number(obj, "uptime_ms", in->view->uptime_ms(in->view->self));
	show_text(obj, "sandbox", in->view->sandbox(in->view->self));
	show_text(obj, "steering", in->view->steering(in->view->self));
	show_own(obj, &in->view->conf(in->view->self)->tun);
	workers = show_inside(obj, "workers");
	show_number(workers, "answered", t->answered);
	show_number(workers, "silent", t->silent);
	show_connection_counts(obj, t->established, t->active, t->half_open,
			       t->time_wait);
	show_traffic(obj, show_count_total, t);
	show_number(obj, "device_dropped",
		    in->view->device_dropped(in->view->self));
	show_number(obj, "recovered_connections",
		    totals_counter(t, "recovered_connections"));
	show_number(obj, "lost_in_recovery",
		    totals_counter(t, "lost_in_recovery"));
	return obj;
}

static struct json_object *show_pool(const struct conf *conf, uint32_t i,
				     const struct totals_pool *pool)
{
	const struct conf_pool *settings = conf_pool_of(conf, i);
	struct json_object *obj = json_object_new_object();
	char text[TOTALS_NAME_BYTES];
	uint32_t groups = 0;

	for (uint32_t g = 0; g < conf->n_groups; g++)
		groups += &conf->pools[conf->groups[g].pool] == settings;
	show_text(obj, "name", totals_pool_name(conf, i, text));
	show_number(obj, "used_bytes", pool->used_bytes);
	show_number(obj, "limit_bytes", pool->limit_bytes);
	if (settings) {
		show_number(obj, "throttle_high", settings->throttle_high);
		show_number(obj, "throttle_low", settings->throttle_low);
		show_number(obj, "groups", groups);
	}
	show_number(obj, "throttled_workers", pool->throttled);
	return obj;
}

struct json_object *show_pools(const struct show_input *in)
{
	const struct conf *conf = in->view->conf(in->view->self);
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < in->totals->n_pools; i++)
		if (in->totals->pools[i].limit_bytes > 0)
			json_object_array_add(list,
					      show_pool(conf, i,
							&in->totals->pools[i]));
	return list;
}

static void show_group_settings(struct json_object *obj,
				const struct conf *conf,
				const struct conf_group *g)
{
	static const char *const acks[] = { "deferred", "delivered",
					    "immediate" };

	show_text(obj, "pool", conf->pools[g->pool].name);
	show_number(obj, "port", g->port);
	show_text(obj, "ack", acks[g->ack]);
	json_object_object_add(obj, "priority",
			       json_object_new_int(g->priority));
	show_number(obj, "max_connections", g->max_connections);
}

/* {"requests": ..., "p50_us": ..., "buckets": [[bound, how many], ...]} */
static void show_latency(struct json_object *obj, const struct histogram *h)
{
	struct json_object *inner = show_inside(obj, "latency");
	struct json_object *list = json_object_new_array(), *one;

	show_number(inner, "requests", histogram_count(h));
	show_number(inner, "sum_us", h->sum);
	show_number(inner, "p50_us", histogram_quantile(h, 500));
	show_number(inner, "p90_us", histogram_quantile(h, 900));
	show_number(inner, "p99_us", histogram_quantile(h, 990));
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (h->counts[i] == 0)
			continue;
		one = json_object_new_array();
		json_object_array_add(one, json_object_new_int64((
						   int64_t)histogram_bound(i)));
		json_object_array_add(
			one, json_object_new_int64((int64_t)h->counts[i]));
		json_object_array_add(list, one);
	}
	json_object_object_add(inner, "buckets", list);
}

static struct json_object *show_group(const struct conf *conf,
				      const struct snapshot_group *g)
{
	const struct conf_group *settings = conf_group_of(conf, g->id);
	struct json_object *obj = json_object_new_object();
	char text[TOTALS_NAME_BYTES];

	show_text(obj, "name", totals_group_name(conf, g->id, text));
	show_number(obj, "id", g->id);
	if (settings)
		show_group_settings(obj, conf, settings);
	show_number(obj, "connections", g->connections);
	show_number(obj, "half_open", g->half_open);
	show_number(obj, "accepted", g->accepted);
	show_number(obj, "refused", g->refused);
	show_both_ways(obj, "messages", g->messages_in, g->messages_out);
	show_both_ways(obj, "bytes", g->bytes_in, g->bytes_out);
	show_number(obj, "waiting", g->waiting);
	if (g->latency)
		show_latency(obj, g->latency);
	return obj;
}

struct json_object *show_groups(const struct show_input *in)
{
	const struct conf *conf = in->view->conf(in->view->self);
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < in->totals->n_groups; i++)
		json_object_array_add(list,
				      show_group(conf, &in->totals->groups[i]));
	return list;
}

static struct json_object *show_backend(const struct conf *conf,
					const struct snapshot_backend *b)
{
	struct json_object *obj = json_object_new_object();
	char text[TOTALS_NAME_BYTES];

	show_text(obj, "name", b->name);
	show_text(obj, "group", totals_group_name(conf, b->group, text));
	show_text(obj, "address", b->address);
	show_text(obj, "protocol",
		  b->protocol == CONF_PROTOCOL_STREAM ? "stream" : "frames");
	show_text(obj, "state", b->state);
	show_number(obj, "streams_up", b->streams_up);
	show_number(obj, "streams_wanted", b->streams_wanted);
	show_number(obj, "inflight", b->inflight);
	show_both_ways(obj, "messages", b->messages_in, b->messages_out);
	show_both_ways(obj, "bytes", b->bytes_in, b->bytes_out);
	show_number(obj, "redelivered", b->redelivered);
	show_number(obj, "reconnects", b->reconnects);
	show_number(obj, "connects", b->opened);
	show_number(obj, "failures", b->failures);
	show_number(obj, "requests", b->requests);
	show_number(obj, "request_us", b->request_us);
	return obj;
}

struct json_object *show_backends(const struct show_input *in)
{
	const struct conf *conf = in->view->conf(in->view->self);
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < in->totals->n_backends; i++)
		json_object_array_add(
			list, show_backend(conf, &in->totals->backends[i]));
	return list;
}

static struct json_object *show_worker(uint32_t i, const struct snapshot *snap)
{
	struct json_object *obj = json_object_new_object();

	show_number(obj, "worker", i);
	show_bool(obj, "answered", snap != NULL);
	if (!snap)
		return obj;
	show_connection_counts(obj, snap->established, snap->active,
			       snap->half_open, snap->time_wait);
	show_traffic(obj, show_count_worker, snap);
	show_both_ways(obj, "packets",
		       totals_counter_of(snap, "tun_packets_in"),
		       totals_counter_of(snap, "tun_packets_out"));
	show_number(obj, "cpu_us", snap->cpu_us);
	return obj;
}

struct json_object *show_workers(const struct show_input *in)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < in->n_workers; i++)
		json_object_array_add(list, show_worker(i, in->snaps[i]));
	return list;
}

static void show_budget(struct json_object *obj, const struct show_input *in)
{
	const struct totals *t = in->totals;
	struct budget_scale scale = { .groups = t->n_groups };
	struct json_object *inner = show_inside(obj, "budget");
	struct budget b;

	for (uint32_t i = 0; i < t->n_pools; i++)
		scale.pool_bytes += t->pools[i].limit_bytes;
	for (uint32_t i = 0; i < t->n_backends; i++)
		if (t->backends[i].protocol == CONF_PROTOCOL_STREAM)
			scale.links += t->backends[i].streams_up;
		else
			scale.streams += t->backends[i].streams_up;
	budget_make(&b, in->view->arena(in->view->self),
		    in->view->conf(in->view->self), &scale);
	show_number(inner, "records_bytes", b.records);
	show_number(inner, "blocks_bytes", b.blocks);
	show_number(inner, "receive_pool_bytes", b.receive_pools);
	show_number(inner, "transmit_buffer_bytes", b.transmit_buffer);
	show_number(inner, "tables_bytes", b.tables);
	show_number(inner, "workers_bytes", b.workers);
	show_number(inner, "streams_bytes", b.streams);
	show_number(inner, "control_bytes", b.control);
	show_number(inner, "program_bytes", b.program);
	show_number(inner, "total_bytes", budget_total(&b));
}

struct json_object *show_memory(const struct show_input *in)
{
	const struct snapshot_memory *m = &in->totals->memory;
	uint64_t arena = in->view->arena_resident_bytes(in->view->self);
	struct json_object *obj = json_object_new_object();

	show_number(obj, "arena_resident_bytes", arena);
	show_number(obj, "records", m->records);
	show_number(obj, "bytes_per_record",
		    m->records ? arena / m->records : 0);
	show_number(obj, "active_blocks", m->active_blocks);
	show_number(obj, "receive_pool_bytes", m->receive_pool_bytes);
	show_number(obj, "transmit_buffer_bytes", m->transmit_buffer_bytes);
	show_number(obj, "process_resident_bytes",
		    totals_process_resident_bytes());
	show_budget(obj, in);
	return obj;
}

struct json_object *show_counters(const struct show_input *in)
{
	struct json_object *obj = json_object_new_object();

	for (uint32_t i = 0; i < in->totals->n_counters && counter_name(i); i++)
		show_number(obj, counter_name(i), in->totals->counters[i]);
	for (size_t i = 0; i < in->n_own_counters; i++)
		show_number(obj, in->own_counters[i].name,
			    in->own_counters[i].value);
	return obj;
}
