/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vstack - the TCP stack behind a pipe, with a clock that is set by hand.
 *
 * For tests/packet/test_scripts.py: a command a line on stdin, the answer on
 * stdout: any number of lines `out TIME HEX` (a packet that the stack sent),
 * `event PORT EVENTS` and the like, then `ok ...` or `err ...`. Times are
 * microseconds of the stack's clock, packets and data hexadecimal.
 *
 *	new KEY=N...       a new stack on an arena of its own; see new_keys[]
 *	group KEY=N...     one group; see group_keys[]
 *	pool I BYTES HIGH LOW
 *	in HEX             parse and input; nothing is sent before `flush`
 *	flush              send what is due, check the arena
 *	run T              let time pass up to T, with timers as they come due
 *	until T            likewise, but stop when something was sent
 *	jump T             straight to T: whoever slept for weeks
 *	find PORT HEX      record of a client's port and address: `ok RI`
 *	events             `event RI BITS` for each
 *	peek RI | deliver RI N | reply RI OFFSET ACKD HEX | close RI | shutdown RI
 *	abort RI | accept RI | refuse RI | forget RI
 *	undeliver RI
 *	info RI            `ok KEY=N...`
 *	counter NAME
 *	end                check the arena, let go of all
 *
 * A wrong command is a bug of the test: it ends the program, as an assert in
 * the stack does.
 */
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena/arena.h"
#include "arena/shard.h"
#include "base/bytes.h"
#include "base/units.h"
#include "stack/stack.h"

#define LINE_BYTES (1u << 20)
#define BATCH_MAX 64
#define PACKET_BYTES 65536u
#define DELIVER_MAX (1u << 18)

struct vstack {
	struct arena arena;
	struct shard shard;
	struct stack *st;
	_Atomic uint32_t counts[STACK_GROUPS_MAX];
	uint64_t now_us;
	uint64_t sent; /* packets since the beginning */
};

static struct vstack vs;

static void die(const char *why, const char *what)
{
	fprintf(stderr, "vstack: %s: %s\n", why, what);
	exit(2);
}

/* --- hexadecimal and numbers ------------------------------------------ */

static void print_hex(const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		putchar(digits[p[i] >> 4]);
		putchar(digits[p[i] & 15]);
	}
}

static unsigned int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a' + 10);
	die("not a hexadecimal digit", (char[]){ c, 0 });
	return 0;
}

/* "-" is the empty string. */
static uint32_t take_hex(const char *text, uint8_t *buf, uint32_t size)
{
	size_t n = strlen(text) / 2;

	if (!strcmp(text, "-"))
		return 0;
	if (n > size)
		die("too long", "hex");
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 |
				   hex_digit(text[2 * i + 1]));
	return (uint32_t)n;
}

static uint64_t take_number(const char *text)
{
	char *end;
	uint64_t n;

	if (!text)
		die("missing", "number");
	n = strtoull(text, &end, 10);
	if (*end || end == text)
		die("not a number", text);
	return n;
}

static const char *word(char **rest)
{
	return strtok_r(NULL, " \n", rest);
}

/* --- settings ---------------------------------------------------------- */

struct key {
	const char *name;
	size_t off, size;
};

static void set_key(void *base, const struct key *keys, const char *pair)
{
	const char *eq = strchr(pair, '=');
	size_t n = eq ? (size_t)(eq - pair) : 0;
	uint64_t value = eq ? take_number(eq + 1) : 0;

	for (; keys->name; keys++) {
		if (strlen(keys->name) == n && !strncmp(keys->name, pair, n)) {
			/* little-endian, as everything this runs on */
			memcpy((char *)base + keys->off, &value, keys->size);
			return;
		}
	}
	die("no such key", pair);
}

#define KEY(type, name, field)                                          \
	{                                                               \
		name, offsetof(type, field), sizeof(((type *)0)->field) \
	}

struct new_settings {
	struct arena_sizes arena;
	struct stack_limits limits;
	uint64_t now_us;
};

static const struct key new_keys[] = {
	KEY(struct new_settings, "connections", arena.max_connections),
	KEY(struct new_settings, "rx", arena.rx_bytes),
	KEY(struct new_settings, "tx", arena.tx_bytes),
	KEY(struct new_settings, "mtu", limits.mtu),
	KEY(struct new_settings, "half_open_max", limits.half_open_max),
	KEY(struct new_settings, "rcv_window_max", limits.rcv_window_max),
	KEY(struct new_settings, "snd_queue_max", limits.snd_queue_max),
	KEY(struct new_settings, "ooo_chunks_max", limits.ooo_chunks_max),
	KEY(struct new_settings, "half_open_cookies", limits.half_open_cookies),
	KEY(struct new_settings, "half_open_per_source",
	    limits.half_open_per_source),
	KEY(struct new_settings, "syn_cookies", limits.syn_cookies),
	KEY(struct new_settings, "now", now_us),
	{ 0 },
};

static const struct key group_keys[] = {
	KEY(struct stack_group, "id", id),
	KEY(struct stack_group, "port", port),
	KEY(struct stack_group, "pool", pool),
	KEY(struct stack_group, "accept", accept),
	KEY(struct stack_group, "ack", ack),
	KEY(struct stack_group, "announce", announce),
	KEY(struct stack_group, "congestion", congestion),
	KEY(struct stack_group, "ecn", ecn),
	KEY(struct stack_group, "draining", draining),
	KEY(struct stack_group, "priority", priority),
	KEY(struct stack_group, "vip_mask", vip_mask),
	KEY(struct stack_group, "max_connections", max_connections),
	KEY(struct stack_group, "max_per_source", max_per_source),
	KEY(struct stack_group, "ack_window", ack_window_bytes),
	KEY(struct stack_group, "ack_deadline", ack_deadline_us),
	KEY(struct stack_group, "accept_timeout", accept_timeout_us),
	KEY(struct stack_group, "idle_timeout", idle_timeout_us),
	KEY(struct stack_group, "keepalive", keepalive_us),
	KEY(struct stack_group, "user_timeout", user_timeout_us),
	{ 0 },
};

/* --- life -------------------------------------------------------------- */

static void emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	struct vstack *v = ctx;

	v->sent++;
	printf("out %llu ", (unsigned long long)v->now_us);
	for (int i = 0; i < iovcnt; i++)
		print_hex(iov[i].iov_base, iov[i].iov_len);
	putchar('\n');
}

/* VIPs: 192.0.2.10, 2001:db8::10, 192.0.2.11. */
static void set_vips(struct arena_header *header)
{
	static const uint8_t v4[] = { 192, 0, 2, 10 },
			     other[] = { 192, 0, 2, 11 };
	static const uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 };

	header->vips[0].family = 4;
	memcpy(header->vips[0].bytes, v4, sizeof(v4));
	header->vips[1].family = 6;
	memcpy(header->vips[1].bytes, v6, sizeof(v6));
	header->vips[2].family = 4;
	memcpy(header->vips[2].bytes, other, sizeof(other));
}

static void cmd_new(char **rest)
{
	struct stack_ops ops = { .emit = emit, .ctx = &vs };
	struct new_settings set = {
		.arena = { .workers = 1,
			   .max_connections = 64,
			   .rx_bytes = MIB,
			   .tx_bytes = MIB },
		.now_us = 1000 * USEC_PER_SEC,
	};
	const char *pair;

	stack_limits_init(&set.limits, 1500);
	while ((pair = word(rest)))
		set_key(&set, new_keys, pair);
	memset(&vs, 0, sizeof(vs));
	vs.now_us = set.now_us;
	if (arena_create(&vs.arena, NULL, &set.arena))
		die("cannot create", "arena");
	/* The same run each time. */
	for (int i = 0; i < 4; i++)
		vs.arena.header->secret[i] =
			UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
	set_vips(vs.arena.header);
	if (shard_init(&vs.shard, &vs.arena, 0, vs.now_us))
		die("cannot init", "shard");
	vs.st = stack_new(&vs.shard, 1, &ops, &set.limits, vs.now_us);
	assert(vs.st);
	puts("ok");
}

static void cmd_end(char **rest)
{
	const char *wrong = shard_check(&vs.shard);

	(void)rest;
	printf(wrong ? "err %s\n" : "ok\n", wrong);
	stack_free(vs.st);
	shard_fini(&vs.shard);
	arena_close(&vs.arena);
	memset(&vs, 0, sizeof(vs));
}

static void cmd_group(char **rest)
{
	struct stack_group g = {
		.id = 1,
		.port = 5222,
		.announce = true,
		.vip_mask = UINT64_MAX,
		.accept_timeout_us = 3 * USEC_PER_SEC,
		.ack_window_bytes = STACK_ACK_WINDOW_AUTO,
		.user_timeout_us = 600 * USEC_PER_SEC,
	};
	const char *pair;
	int err;

	while ((pair = word(rest)))
		set_key(&g, group_keys, pair);
	assert(g.id < STACK_GROUPS_MAX);
	g.shared_count = &vs.counts[g.id];
	err = stack_group_set(vs.st, &g);
	printf(err ? "err %d\n" : "ok\n", err);
}

static void cmd_pool(char **rest)
{
	uint16_t i = (uint16_t)take_number(word(rest));
	uint64_t bytes = take_number(word(rest));
	uint32_t high = (uint32_t)take_number(word(rest));
	uint32_t low = (uint32_t)take_number(word(rest));

	stack_pool_set(vs.st, i, bytes, high, low);
	puts("ok");
}

/* --- packets and time -------------------------------------------------- */

static void cmd_in(char **rest)
{
	/* Malloced to its size, so that a sanitizer sees a byte too far. */
	const char *hex = word(rest);
	uint8_t *packet = malloc(strlen(hex) / 2 + 1);
	uint32_t n = take_hex(hex, packet, PACKET_BYTES);
	struct seg seg;

	packet = realloc(packet, n ? n : 1);
	if (stack_parse(vs.st, packet, n, &seg))
		stack_input(vs.st, &seg, vs.now_us);
	free(packet);
	puts("ok");
}

static void cmd_flush(char **rest)
{
	const char *wrong;

	(void)rest;
	stack_flush(vs.st, vs.now_us);
	wrong = shard_check(&vs.shard);
	printf(wrong ? "err %s\n" : "ok\n", wrong);
}

/* Up to end, or with once until something is sent. */
static void pass(uint64_t end, bool once)
{
	uint64_t sent = vs.sent;

	assert(end >= vs.now_us);
	while (!(once && vs.sent != sent)) {
		uint64_t next = stack_next_us(vs.st);

		if (next > end) {
			vs.now_us = end;
			break;
		}
		vs.now_us = max_u64(next, vs.now_us);
		stack_tick(vs.st, vs.now_us);
		stack_flush(vs.st, vs.now_us);
	}
	printf("ok %llu\n", (unsigned long long)vs.now_us);
}

static void cmd_run(char **rest)
{
	pass(take_number(word(rest)), false);
}

static void cmd_until(char **rest)
{
	pass(take_number(word(rest)), true);
}

static void cmd_jump(char **rest)
{
	vs.now_us = take_number(word(rest));
	stack_tick(vs.st, vs.now_us);
	stack_flush(vs.st, vs.now_us);
	printf("ok %llu\n", (unsigned long long)vs.now_us);
}

/* --- connections ------------------------------------------------------- */

static void cmd_find(char **rest)
{
	uint64_t port = take_number(word(rest));
	uint8_t addr[16] = { 0 };
	uint32_t n = take_hex(word(rest), addr, sizeof(addr));

	for (uint32_t ri = 0; ri < vs.shard.n_recs; ri++) {
		struct tuple tuple;

		if (!vs.shard.recs[ri].state ||
		    vs.shard.recs[ri].remote_port != port)
			continue;
		shard_rec_tuple(&vs.shard, ri, &tuple);
		if (!memcmp(tuple.remote, addr, n)) {
			printf("ok %u\n", ri);
			return;
		}
	}
	puts("ok -1");
}

static void cmd_events(char **rest)
{
	uint16_t events;
	uint32_t ri;

	(void)rest;
	while ((ri = stack_next_event(vs.st, &events)) != NIL) {
		vs.shard.recs[ri].flags |= REC_TOLD;
		printf("event %u %u\n", ri, events);
	}
	puts("ok");
}

static uint32_t take_record(char **rest)
{
	uint64_t ri = take_number(word(rest));

	if (ri >= vs.shard.n_recs || !vs.shard.recs[ri].state)
		die("no such record", "it is gone");
	return (uint32_t)ri;
}

static void cmd_peek(char **rest)
{
	uint32_t ri = take_record(rest);
	static struct iovec iov[1024];
	bool again = false;
	uint64_t offset = 0;
	int n = 1024;

	stack_peek(vs.st, ri, DELIVER_MAX, iov, &n, &offset, &again);
	printf("ok %llu %d ", (unsigned long long)offset, again);
	for (int i = 0; i < n; i++)
		print_hex(iov[i].iov_base, iov[i].iov_len);
	putchar('\n');
}

static void cmd_deliver(char **rest)
{
	uint32_t ri = take_record(rest);

	stack_delivered(vs.st, ri, (uint32_t)take_number(word(rest)),
			vs.now_us);
	puts("ok");
}

static void cmd_reply(char **rest)
{
	uint32_t ri = take_record(rest);
	uint64_t offset = take_number(word(rest));
	uint32_t ackd = (uint32_t)take_number(word(rest));
	const char *hex = word(rest);
	uint8_t *data = malloc(LINE_BYTES);
	uint32_t n = take_hex(hex, data, LINE_BYTES);

	printf("ok %lld\n", (long long)stack_reply(vs.st, ri, offset, ackd,
						   data, n, vs.now_us));
	free(data);
}

static void cmd_close(char **rest)
{
	stack_close(vs.st, take_record(rest), vs.now_us);
	puts("ok");
}

static void cmd_shutdown(char **rest)
{
	stack_shutdown(vs.st, take_record(rest), vs.now_us);
	puts("ok");
}

static void cmd_abort(char **rest)
{
	stack_abort(vs.st, take_record(rest), vs.now_us);
	puts("ok");
}

static void cmd_accept(char **rest)
{
	printf("ok %d\n", stack_accept(vs.st, take_record(rest), vs.now_us));
}

static void cmd_refuse(char **rest)
{
	printf("ok %d\n", stack_refuse(vs.st, take_record(rest), vs.now_us));
}

static void cmd_forget(char **rest)
{
	stack_forget(vs.st, take_record(rest));
	puts("ok");
}

static void cmd_undeliver(char **rest)
{
	stack_undeliver(vs.st, take_record(rest));
	puts("ok");
}

static void cmd_info(char **rest)
{
	uint32_t ri = take_record(rest);
	struct stack_conn_info i;

	stack_conn_info(vs.st, ri, vs.now_us, &i);
	printf("ok state=%s active=%d eof=%d rcv_off=%llu snd_off=%llu "
	       "rcv_held=%u snd_queued=%u snd_wnd=%u rcv_wnd=%u cwnd=%u "
	       "ssthresh=%u mss=%u srtt=%u rttvar=%u rto=%u\n",
	       tcp_state_name(i.state), i.active, i.eof,
	       (unsigned long long)i.rcv_acked, (unsigned long long)i.snd_acked,
	       i.rcv_held, i.snd_queued, i.snd_wnd, i.rcv_wnd, i.cwnd,
	       i.ssthresh, i.mss, i.srtt_us, i.rttvar_us, i.rto_us);
}

static void cmd_counter(char **rest)
{
	static const char *const names[] = {
#define C(name, help) #name,
		STACK_COUNTERS(C)
#undef C
	};
	const char *name = word(rest);

	for (int i = 0; i < SC_COUNT; i++) {
		if (!strcmp(names[i], name)) {
			printf("ok %llu\n", (unsigned long long)counter_get(
						    &vs.st->counters[i]));
			return;
		}
	}
	puts("err no such counter");
}

/* --- the loop ---------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(char **rest);
} commands[] = {
	{ "new", cmd_new },
	{ "end", cmd_end },
	{ "group", cmd_group },
	{ "pool", cmd_pool },
	{ "in", cmd_in },
	{ "flush", cmd_flush },
	{ "run", cmd_run },
	{ "until", cmd_until },
	{ "jump", cmd_jump },
	{ "find", cmd_find },
	{ "events", cmd_events },
	{ "peek", cmd_peek },
	{ "deliver", cmd_deliver },
	{ "reply", cmd_reply },
	{ "close", cmd_close },
	{ "shutdown", cmd_shutdown },
	{ "abort", cmd_abort },
	{ "accept", cmd_accept },
	{ "refuse", cmd_refuse },
	{ "forget", cmd_forget },
	{ "undeliver", cmd_undeliver },
	{ "info", cmd_info },
	{ "counter", cmd_counter },
};

static void run_line(char *line)
{
	char *rest;
	const char *name = strtok_r(line, " \n", &rest);

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(*commands);
	     i++) {
		if (!strcmp(commands[i].name, name)) {
			if (!vs.st && commands[i].run != cmd_new)
				die("no stack yet", name);
			commands[i].run(&rest);
			fflush(stdout);
			return;
		}
	}
	die("no such command", name ? name : "(empty)");
}

int main(void)
{
	char *line = malloc(2 * LINE_BYTES);

	assert(line);
	while (fgets(line, 2 * LINE_BYTES, stdin))
		run_line(line);
	free(line);
	return 0;
}
