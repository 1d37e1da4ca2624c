/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show_conn - connections as JSON: a line of the list, or all about one.
 */
#include "daemon/show.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/units.h"
#include "daemon/show_json.h"

/* "192.0.2.10:5222" or "[2001:db8::10]:5222" */
static void show_endpoint(struct json_object *obj, const char *key,
			  const struct conf_ip *ip, uint16_t port)
{
	bool v6 = ip->family == 6;
	char host[INET6_ADDRSTRLEN] = "?";
	char text[INET6_ADDRSTRLEN + sizeof("[]:65535")];

	inet_ntop(v6 ? AF_INET6 : AF_INET, ip->bytes, host, sizeof(host));
	snprintf(text, sizeof(text), "%s%s%s:%u", v6 ? "[" : "", host,
		 v6 ? "]" : "", port);
	show_text(obj, key, text);
}

/* Members that an idle connection does not have are left out. */
static void show_sending(struct json_object *obj,
			 const struct stack_conn_detail *d)
{
	show_text(obj, "congestion", d->congestion);
	show_text(obj, "phase", d->phase);
	show_number(obj, "min_rtt_us", d->min_rtt_us);
	show_bool(obj, "reordering", d->reordering);
	show_number(obj, "unacked_bytes", d->unacked_bytes);
	show_number(obj, "unacked_segs", d->unacked_segs);
	show_number(obj, "in_flight_bytes", d->in_flight_bytes);
	show_number(obj, "sacked_bytes", d->sacked_bytes);
	show_number(obj, "sacked_segs", d->sacked_segs);
	show_number(obj, "lost_bytes", d->lost_bytes);
	show_number(obj, "again_bytes", d->again_bytes);
	show_number(obj, "unsent_bytes", d->unsent_bytes);
	show_number(obj, "dupacks", d->dupacks);
	show_number(obj, "backoff", d->backoff);
	show_number(obj, "keepalive_probes", d->keepalive_probes);
}

static void show_receiving(struct json_object *obj,
			   const struct stack_conn_detail *d)
{
	show_number(obj, "rcv_position", d->rcv_pos);
	show_number(obj, "rcv_delivered", d->rcv_delivered);
	show_number(obj, "rcv_acked_to_client", d->rcv_acked_client);
	show_bool(obj, "acked_early", d->acked_early);
	show_number(obj, "out_of_order_chunks", d->ooo_chunks);
	show_number(obj, "rcv_pool_bytes", d->rcv_pool_bytes);
	show_number(obj, "tx_buffer_bytes", d->tx_buffer_bytes);
	show_bool(obj, "fin_received", d->fin_received);
	show_bool(obj, "fin_queued", d->fin_queued);
}

/* Milliseconds that are left, rounded up; those alone that run. */
static void show_timers(struct json_object *obj,
			const struct stack_conn_detail *d)
{
	struct json_object *inner = show_inside(obj, "timers_ms");

	for (uint32_t i = 0; i < STACK_TIMERS; i++)
		if (d->timer_us[i] != STACK_TIMER_OFF)
			show_number(inner, stack_timer_name(i),
				    (d->timer_us[i] + USEC_PER_MSEC - 1) /
					    USEC_PER_MSEC);
}

static void show_ago(struct json_object *obj, const char *key, uint64_t us)
{
	if (us != STACK_TIMER_OFF)
		show_number(obj, key, us / USEC_PER_MSEC);
}

static void show_detail(struct json_object *obj,
			const struct snapshot_detail *detail)
{
	const struct stack_conn_detail *d = &detail->stack;
	bool active = d->congestion != NULL;

	show_number(obj, "snd_wscale", d->snd_wscale);
	show_number(obj, "rcv_wscale", d->rcv_wscale);
	show_bool(obj, "ecn", d->ecn);
	if (active)
		show_sending(obj, d);
	show_receiving(obj, d);
	show_timers(obj, d);
	show_ago(obj, "sent_ago_ms", d->sent_ago_us);
	show_ago(obj, "progress_ago_ms", d->progress_ago_us);
	if (detail->request_ago_us)
		show_number(obj, "request_ago_us", detail->request_ago_us);
	show_bool(obj, "backend_knows", detail->told);
	show_bool(obj, "inflight", detail->inflight);
	show_number(obj, "backend_credit_bytes", detail->credit_bytes);
	if (detail->waits)
		show_text(obj, "waits_for", detail->waits);
}

static void show_conn_more(struct json_object *obj,
			   const struct snapshot_conn *c)
{
	show_number(obj, "rcv_acked", c->rcv_acked);
	show_number(obj, "snd_acked", c->snd_acked);
	show_number(obj, "snd_wnd", c->snd_wnd);
	show_number(obj, "rcv_wnd", c->rcv_wnd);
	show_number(obj, "cwnd", c->cwnd);
	show_number(obj, "ssthresh", c->ssthresh);
	show_number(obj, "mss", c->mss);
	show_number(obj, "srtt_us", c->srtt_us);
	show_number(obj, "rttvar_us", c->rttvar_us);
	show_number(obj, "rto_us", c->rto_us);
	show_number(obj, "retransmits", c->retransmits);
	show_bool(obj, "wscale", c->wscale);
	show_bool(obj, "timestamps", c->timestamps);
	show_bool(obj, "sack", c->sack);
	if (c->detail)
		show_detail(obj, c->detail);
}

struct json_object *show_conn(const struct conf *conf,
			      const struct snapshot_conn *c, bool all)
{
	struct json_object *obj = json_object_new_object();
	char text[TOTALS_NAME_BYTES], id[sizeof("0123456789abcdef")];

	/* text: a script's number may have no more than 53 bits */
	snprintf(id, sizeof(id), "%016" PRIx64, c->id);
	show_text(obj, "id", id);
	show_text(obj, "group", totals_group_name(conf, c->group, text));
	show_text(obj, "state", c->state);
	show_endpoint(obj, "remote", &c->remote, c->remote_port);
	show_endpoint(obj, "local", &c->local, c->local_port);
	show_bool(obj, "active", c->active);
	show_number(obj, "rcv_held_bytes", c->rcv_held_bytes);
	show_number(obj, "snd_queued_bytes", c->snd_queued_bytes);
	show_number(obj, "idle_ms", c->idle_ms);
	show_text(obj, "backend", c->backend);
	if (all)
		show_conn_more(obj, c);
	return obj;
}
