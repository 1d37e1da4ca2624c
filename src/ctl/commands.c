/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commands - what xtcpctl knows of each command.
 *
 * commands[] at the end is the table; before it stands, for each command that
 * prints something, what a person sees of its result. xtcpctl(1) lists the
 * names of the results' members.
 */
#include "ctl/commands.h"

#include <string.h>

#include "base/bytes.h"
#include "ctl/capture.h"
#include "ctl/print.h"
#include "ctl/top.h"

static const struct print_field info_fields[] = {
	{ "version", "version", PRINT_TEXT },
	{ "up for", "uptime_ms", PRINT_MS },
	{ "sandbox", "sandbox", PRINT_TEXT },
	{ "queues chosen by", "steering", PRINT_TEXT },
	{ "ports of this host", "listen", PRINT_TEXT },
	{ "workers", "workers.answered", PRINT_NUMBER },
	{ "workers that are silent", "workers.silent", PRINT_NUMBER },
	{ "connections established", "connections.established", PRINT_NUMBER },
	{ "connections active", "connections.active", PRINT_NUMBER },
	{ "connections half-open", "connections.half_open", PRINT_NUMBER },
	{ "connections in TIME-WAIT", "connections.time_wait", PRINT_NUMBER },
	{ "accepted", "accepted", PRINT_NUMBER },
	{ "refused", "refused", PRINT_NUMBER },
	{ "messages in", "messages.in", PRINT_NUMBER },
	{ "messages out", "messages.out", PRINT_NUMBER },
	{ "payload in", "bytes.in", PRINT_BYTES },
	{ "payload out", "bytes.out", PRINT_BYTES },
	{ "segments in", "segments.in", PRINT_NUMBER },
	{ "segments out", "segments.out", PRINT_NUMBER },
	{ "segments retransmitted", "segments.retransmitted", PRINT_NUMBER },
	{ "pure ACKs out", "segments.pure_acks_out", PRINT_NUMBER },
	{ "pure ACKs saved", "segments.pure_acks_saved", PRINT_NUMBER },
	{ "dropped by the device", "device_dropped", PRINT_NUMBER },
	{ "connections recovered", "recovered_connections", PRINT_NUMBER },
	{ "lost in recovery", "lost_in_recovery", PRINT_NUMBER },
};

static const struct print_field pool_fields[] = {
	{ "POOL", "name", PRINT_TEXT },
	{ "USED", "used_bytes", PRINT_BYTES },
	{ "LIMIT", "limit_bytes", PRINT_BYTES },
	{ "HIGH%", "throttle_high", PRINT_NUMBER },
	{ "LOW%", "throttle_low", PRINT_NUMBER },
	{ "THROTTLED", "throttled_workers", PRINT_NUMBER },
	{ "GROUPS", "groups", PRINT_NUMBER },
};

static const struct print_field group_fields[] = {
	{ "GROUP", "name", PRINT_TEXT },
	{ "POOL", "pool", PRINT_TEXT },
	{ "PORT", "port", PRINT_NUMBER },
	{ "ACK", "ack", PRINT_TEXT },
	{ "CONNS", "connections", PRINT_NUMBER },
	{ "HALF-OPEN", "half_open", PRINT_NUMBER },
	{ "WAITING", "waiting", PRINT_NUMBER },
	{ "ACCEPTED", "accepted", PRINT_NUMBER },
	{ "REFUSED", "refused", PRINT_NUMBER },
	{ "MSGS-IN", "messages.in", PRINT_NUMBER },
	{ "MSGS-OUT", "messages.out", PRINT_NUMBER },
	{ "IN", "bytes.in", PRINT_BYTES },
	{ "OUT", "bytes.out", PRINT_BYTES },
	{ "P50", "latency.p50_us", PRINT_US },
	{ "P90", "latency.p90_us", PRINT_US },
	{ "P99", "latency.p99_us", PRINT_US },
};

static const struct print_field backend_fields[] = {
	{ "BACKEND", "name", PRINT_TEXT },
	{ "GROUP", "group", PRINT_TEXT },
	{ "STATE", "state", PRINT_TEXT },
	{ "UP", "streams_up", PRINT_NUMBER },
	{ "WANTED", "streams_wanted", PRINT_NUMBER },
	{ "INFLIGHT", "inflight", PRINT_NUMBER },
	{ "MSGS-IN", "messages.in", PRINT_NUMBER },
	{ "MSGS-OUT", "messages.out", PRINT_NUMBER },
	{ "IN", "bytes.in", PRINT_BYTES },
	{ "OUT", "bytes.out", PRINT_BYTES },
	{ "REDELIVERED", "redelivered", PRINT_NUMBER },
	{ "CONNECTS", "connects", PRINT_NUMBER },
	{ "FAILURES", "failures", PRINT_NUMBER },
	{ "ADDRESS", "address", PRINT_TEXT },
};

static const struct print_field worker_fields[] = {
	{ "WORKER", "worker", PRINT_NUMBER },
	{ "ANSWERED", "answered", PRINT_FLAG },
	{ "ESTABLISHED", "connections.established", PRINT_NUMBER },
	{ "ACTIVE", "connections.active", PRINT_NUMBER },
	{ "HALF-OPEN", "connections.half_open", PRINT_NUMBER },
	{ "TIME-WAIT", "connections.time_wait", PRINT_NUMBER },
	{ "ACCEPTED", "accepted", PRINT_NUMBER },
	{ "MSGS-IN", "messages.in", PRINT_NUMBER },
	{ "MSGS-OUT", "messages.out", PRINT_NUMBER },
	{ "SEGS-IN", "segments.in", PRINT_NUMBER },
	{ "SEGS-OUT", "segments.out", PRINT_NUMBER },
	{ "RETRANS", "segments.retransmitted", PRINT_NUMBER },
	{ "PKTS-IN", "packets.in", PRINT_NUMBER },
	{ "PKTS-OUT", "packets.out", PRINT_NUMBER },
};

static const struct print_field memory_fields[] = {
	{ "arena, resident", "arena_resident_bytes", PRINT_BYTES },
	{ "records", "records", PRINT_NUMBER },
	{ "arena per record", "bytes_per_record", PRINT_BYTES },
	{ "active blocks", "active_blocks", PRINT_NUMBER },
	{ "receive pools", "receive_pool_bytes", PRINT_BYTES },
	{ "transmit buffer", "transmit_buffer_bytes", PRINT_BYTES },
	{ "process, resident", "process_resident_bytes", PRINT_BYTES },
	{ "budget: records", "budget.records_bytes", PRINT_BYTES },
	{ "budget: blocks", "budget.blocks_bytes", PRINT_BYTES },
	{ "budget: receive pools", "budget.receive_pool_bytes", PRINT_BYTES },
	{ "budget: transmit buffer", "budget.transmit_buffer_bytes",
	  PRINT_BYTES },
	{ "budget: tables", "budget.tables_bytes", PRINT_BYTES },
	{ "budget: workers", "budget.workers_bytes", PRINT_BYTES },
	{ "budget: streams", "budget.streams_bytes", PRINT_BYTES },
	{ "budget: control", "budget.control_bytes", PRINT_BYTES },
	{ "budget: program", "budget.program_bytes", PRINT_BYTES },
	{ "budget: in all", "budget.total_bytes", PRINT_BYTES },
};

static const struct print_field conns_fields[] = {
	{ "ID", "id", PRINT_TEXT },
	{ "GROUP", "group", PRINT_TEXT },
	{ "STATE", "state", PRINT_TEXT },
	{ "REMOTE", "remote", PRINT_TEXT },
	{ "LOCAL", "local", PRINT_TEXT },
	{ "ACTIVE", "active", PRINT_FLAG },
	{ "HELD", "rcv_held_bytes", PRINT_BYTES },
	{ "QUEUED", "snd_queued_bytes", PRINT_BYTES },
	{ "IDLE", "idle_ms", PRINT_MS },
	{ "BACKEND", "backend", PRINT_TEXT },
};

#define OPTIONAL(heading, path, format)                  \
	{                                                \
		heading, path, PRINT_OPTIONAL | (format) \
	}

static const struct print_field conn_fields[] = {
	{ "id", "id", PRINT_TEXT },
	{ "group", "group", PRINT_TEXT },
	{ "state", "state", PRINT_TEXT },
	{ "remote", "remote", PRINT_TEXT },
	{ "local", "local", PRINT_TEXT },
	{ "backend", "backend", PRINT_TEXT },
	{ "backend knows of it", "backend_knows", PRINT_FLAG },
	{ "backend has requests in hand", "inflight", PRINT_FLAG },
	{ "backend may send", "backend_credit_bytes", PRINT_BYTES },
	OPTIONAL("waits for", "waits_for", PRINT_TEXT),
	{ "active", "active", PRINT_FLAG },
	{ "client was heard", "idle_ms", PRINT_AGO },
	OPTIONAL("client last acknowledged", "progress_ago_ms", PRINT_AGO),
	OPTIONAL("data was last sent", "sent_ago_ms", PRINT_AGO),
	OPTIONAL("request under way for", "request_ago_us", PRINT_US),
	{ "ackd, processed by the application", "rcv_acked", PRINT_NUMBER },
	{ "received, position", "rcv_position", PRINT_NUMBER },
	{ "delivered to the backend, position", "rcv_delivered", PRINT_NUMBER },
	{ "acknowledged to the client, position", "rcv_acked_to_client",
	  PRINT_NUMBER },
	{ "acknowledged ahead of the application", "acked_early", PRINT_FLAG },
	{ "received, not processed", "rcv_held_bytes", PRINT_BYTES },
	{ "takes of the receive pool", "rcv_pool_bytes", PRINT_BYTES },
	{ "chunks beyond a gap", "out_of_order_chunks", PRINT_NUMBER },
	{ "receive window", "rcv_wnd", PRINT_BYTES },
	{ "sent, acknowledged by the client", "snd_acked", PRINT_NUMBER },
	{ "sent or queued, not acknowledged", "snd_queued_bytes", PRINT_BYTES },
	{ "takes of the transmit buffer", "tx_buffer_bytes", PRINT_BYTES },
	OPTIONAL("not sent yet", "unsent_bytes", PRINT_BYTES),
	OPTIONAL("unacked", "unacked_bytes", PRINT_BYTES),
	OPTIONAL("unacked segments", "unacked_segs", PRINT_NUMBER),
	OPTIONAL("in flight", "in_flight_bytes", PRINT_BYTES),
	OPTIONAL("sacked", "sacked_bytes", PRINT_BYTES),
	OPTIONAL("sacked segments", "sacked_segs", PRINT_NUMBER),
	OPTIONAL("lost", "lost_bytes", PRINT_BYTES),
	OPTIONAL("retransmitted, in flight", "again_bytes", PRINT_BYTES),
	{ "retransmissions in a row", "retransmits", PRINT_NUMBER },
	OPTIONAL("duplicate ACKs", "dupacks", PRINT_NUMBER),
	{ "send window", "snd_wnd", PRINT_BYTES },
	{ "congestion window", "cwnd", PRINT_BYTES },
	{ "slow-start threshold", "ssthresh", PRINT_BYTES },
	OPTIONAL("congestion control", "congestion", PRINT_TEXT),
	OPTIONAL("its phase", "phase", PRINT_TEXT),
	OPTIONAL("reordering was seen", "reordering", PRINT_FLAG),
	{ "MSS", "mss", PRINT_NUMBER },
	{ "smoothed RTT", "srtt_us", PRINT_US },
	{ "RTT variation", "rttvar_us", PRINT_US },
	OPTIONAL("least RTT of late", "min_rtt_us", PRINT_US),
	{ "retransmission time-out", "rto_us", PRINT_US },
	OPTIONAL("doubled", "backoff", PRINT_NUMBER),
	{ "window scaling", "wscale", PRINT_FLAG },
	{ "shift of the client's window", "snd_wscale", PRINT_NUMBER },
	{ "shift of ours", "rcv_wscale", PRINT_NUMBER },
	{ "timestamps", "timestamps", PRINT_FLAG },
	{ "SACK", "sack", PRINT_FLAG },
	{ "ECN", "ecn", PRINT_FLAG },
	{ "the client has closed", "fin_received", PRINT_FLAG },
	{ "the application has closed", "fin_queued", PRINT_FLAG },
	OPTIONAL("timer: retransmission", "timers_ms.retransmit", PRINT_MS),
	OPTIONAL("timer: window probe", "timers_ms.persist", PRINT_MS),
	OPTIONAL("timer: tail loss probe", "timers_ms.loss_probe", PRINT_MS),
	OPTIONAL("timer: reordering", "timers_ms.reordering", PRINT_MS),
	OPTIONAL("timer: delayed ACK", "timers_ms.delayed_ack", PRINT_MS),
	OPTIONAL("timer: ack-deadline", "timers_ms.ack_deadline", PRINT_MS),
	OPTIONAL("timer: accept-timeout", "timers_ms.accept", PRINT_MS),
	OPTIONAL("timer: handshake", "timers_ms.handshake", PRINT_MS),
	OPTIONAL("timer: keepalive", "timers_ms.keepalive", PRINT_MS),
	OPTIONAL("timer: FIN-WAIT-2", "timers_ms.fin_wait_2", PRINT_MS),
	OPTIONAL("timer: block is given back", "timers_ms.linger", PRINT_MS),
	OPTIONAL("timer: idle-timeout", "timers_ms.idle", PRINT_MS),
	OPTIONAL("timer: TIME-WAIT", "timers_ms.time_wait", PRINT_MS),
};

#define FIELDS(array) array, ARRAY_SIZE(array), NULL, NULL
#define NO_FIELDS NULL, 0, NULL, NULL

static const struct command commands[] = {
	{ "show info", NULL, false, "totals over all workers", COMMAND_OBJECT,
	  FIELDS(info_fields) },
	{ "show pools", NULL, false, "receive buffers and their fill",
	  COMMAND_TABLE, FIELDS(pool_fields) },
	{ "show groups", NULL, false, "groups and their connections",
	  COMMAND_TABLE, FIELDS(group_fields) },
	{ "show backends", NULL, false, "backends, their streams and state",
	  COMMAND_TABLE, FIELDS(backend_fields) },
	{ "show workers", NULL, false, "each worker on its own", COMMAND_TABLE,
	  FIELDS(worker_fields) },
	{ "show memory", NULL, false, "what the connections take",
	  COMMAND_OBJECT, FIELDS(memory_fields) },
	{ "show counters", NULL, false, "every counter", COMMAND_NUMBERS,
	  NO_FIELDS },
	{ "show connections", NULL, true, "connections, 10000 by default",
	  COMMAND_TABLE, FIELDS(conns_fields) },
	{ "show connection", "id", false, "all about one connection",
	  COMMAND_OBJECT, FIELDS(conn_fields) },
	{ "close", "id", false, "close a connection with a FIN", COMMAND_DONE,
	  NO_FIELDS },
	{ "drain backend", "name", false, "give a backend no new connections",
	  COMMAND_DONE, NO_FIELDS },
	{ "vacate backend", "name", false,
	  "drain it, and give its connections to others", COMMAND_DONE,
	  NO_FIELDS },
	{ "resume backend", "name", false,
	  "end \"drain\" and \"vacate backend\"", COMMAND_DONE, NO_FIELDS },
	{ "drain group", "name", false, "accept no new connections for a group",
	  COMMAND_DONE, NO_FIELDS },
	{ "reload", NULL, false, "read the configuration again",
	  COMMAND_MESSAGES, NO_FIELDS },
	{ "capture", NULL, false, "packets into a file, by a filter",
	  COMMAND_OWN, NULL, 0, capture_run, capture_help },
	{ "top", NULL, false, "what xtcpd does, live", COMMAND_OWN, NULL, 0,
	  top_run, top_help },
};

/* How many of the words are the name; 0: they are not. */
static int command_match(const char *name, char *const *words, int n)
{
	int used = 0;
	size_t len;

	while (used < n) {
		len = strlen(words[used]);
		if (strncmp(name, words[used], len) != 0)
			return 0;
		used++;
		if (name[len] == '\0')
			return used;
		if (name[len] != ' ')
			return 0;
		name += len + 1;
	}
	return 0;
}

const struct command *command_find(char *const *words, int n, int *ret_used)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		*ret_used = command_match(commands[i].name, words, n);
		if (*ret_used > 0)
			return &commands[i];
	}
	return NULL;
}

void commands_help(FILE *out)
{
	char left[80];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		snprintf(left, sizeof(left), "%s%s%s", commands[i].name,
			 commands[i].arg ? (strcmp(commands[i].arg, "id") == 0
						    ? " ID"
						    : " NAME")
					 : "",
			 commands[i].filters   ? " [filter...]"
			 : commands[i].options ? " [option...]"
					       : "");
		fprintf(out, "  %-30s %s\n", left, commands[i].help);
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].options)
			fprintf(out, "\n%s", commands[i].options);
}

static void command_print_messages(FILE *out, struct json_object *result)
{
	struct json_object *lines;

	if (!json_object_object_get_ex(result, "messages", &lines) ||
	    !json_object_is_type(lines, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(lines); i++)
		fprintf(out, "%s\n",
			json_object_get_string(
				json_object_array_get_idx(lines, i)));
}

void command_print(FILE *out, const struct command *c,
		   struct json_object *result)
{
	switch (c->shape) {
	case COMMAND_DONE:
	case COMMAND_OWN:
		break;
	case COMMAND_OBJECT:
		print_object(out, result, c->fields, c->n_fields);
		break;
	case COMMAND_TABLE:
		print_table(out, result, c->fields, c->n_fields);
		break;
	case COMMAND_NUMBERS:
		print_numbers(out, result);
		break;
	case COMMAND_MESSAGES:
		command_print_messages(out, result);
		break;
	}
}
