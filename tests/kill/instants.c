/* SPDX-License-Identifier: BSD-2-Clause */
/* See instants.h. Prints "ok NAME" or "not ok NAME: why" per script. */
#include "kill/instants.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena/recover.h"
#include "base/bytes.h"
#include "base/seq.h"
#include "base/units.h"

#define CLIENT INSTANTS_CLIENT
#define BYSTANDER (INSTANTS_CLIENT + 1)
#define BYSTANDER_HELD 700u /* bytes of the client's, of which 100 are taken */
#define BYSTANDER_QUEUED 900u /* of ours, unacknowledged */
#define STEPS_MAX 20000000u
#define ROUNDS_MAX 60u
/* From the beginning of the operation to the next process; OP_PASS included. */
#define INSTANTS_PAUSE_US (2500 * USEC_PER_MSEC)

static struct arena live, copy;
static struct instants_log *log_live, log_copy;
static const struct instants_script *script;
static char why[300];

__attribute__((format(printf, 1, 2))) static bool wrong(const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = (size_t)snprintf(why, sizeof(why), "op %u: ", log_copy.op);
	vsnprintf(why + n, sizeof(why) - n, fmt, ap);
	va_end(ap);
	return false;
}

/* --- the child --------------------------------------------------------- */

static void client_op(struct instants_world *w, const struct model *m,
		      const struct instants_op *op)
{
	struct instants_seg seg = { .port = CLIENT,
				    .flags = TH_ACK,
				    .pos = m->sent };

	seg.ack = instants_received(w->log, CLIENT, &seg.ack_fin);
	switch (op->kind) {
	case OP_SYN:
		seg.flags = TH_SYN;
		seg.pos = 0;
		break;
	case OP_TEXT:
		seg.flags |= TH_PSH;
		seg.pos += op->b;
		seg.len = op->a;
		break;
	case OP_CLIENT_ACK:
		seg.ack -= op->a;
		seg.ack_fin = seg.ack_fin && !op->a;
		seg.pos += m->client_fin;
		break;
	case OP_CLIENT_FIN:
		seg.flags |= TH_FIN;
		break;
	case OP_CLIENT_AGAIN:
		seg.pos -= op->a;
		seg.len = op->a;
		break;
	case OP_CLIENT_RST:
		seg.flags = TH_RST;
		/* where we have acknowledged to */
		seg.pos = instants_acked(w->log, CLIENT, &(bool){ 0 });
		break;
	default:
		break;
	}
	instants_input(w, &seg);
}

static void child_pass(struct instants_world *w, uint64_t us)
{
	uint64_t end = w->now_us + us;

	while (w->now_us < end) {
		w->now_us = min_u64(
			max_u64(stack_next_us(w->st), w->now_us + 1), end);
		stack_tick(w->st, w->now_us);
		stack_flush(w->st, w->now_us);
	}
}

static void child_op(struct instants_world *w, uint32_t n)
{
	const struct instants_op *op = &script->ops[n];
	struct model m = model_at(script, n, false);
	uint32_t ri = instants_find(w, CLIENT);
	uint16_t events;

	w->now_us += 1000;
	switch (op->kind) {
	case OP_DELIVER:
		app_deliver(w, ri, op->a);
		break;
	case OP_REPLY:
		app_reply(w, ri, op->a, m.replied, op->b);
		break;
	case OP_ACCEPT:
		stack_accept(w->st, ri, w->now_us);
		break;
	case OP_SHUTDOWN:
		stack_shutdown(w->st, ri, w->now_us);
		break;
	case OP_CLOSE:
		stack_close(w->st, ri, w->now_us);
		break;
	case OP_ABORT:
		stack_abort(w->st, ri, w->now_us);
		break;
	case OP_PASS:
		child_pass(w, op->a * USEC_PER_MSEC);
		break;
	default:
		client_op(w, &m, op);
		break;
	}
	while ((ri = stack_next_event(w->st, &events)) != NIL)
		if (events & STACK_EV_RESET)
			stack_forget(w->st, ri);
	stack_flush(w->st, w->now_us);
}

/* The bystander: text held, and in part delivered; a reply under way. */
static void child_bystander(struct instants_world *w)
{
	struct instants_seg seg = { .port = BYSTANDER, .flags = TH_SYN };
	uint32_t ri;

	instants_input(w, &seg);
	stack_flush(w->st, w->now_us);
	ri = instants_find(w, BYSTANDER);
	if (script->held)
		stack_accept(w->st, ri, w->now_us);
	stack_flush(w->st, w->now_us);
	seg.flags = TH_ACK;
	seg.len = BYSTANDER_HELD;
	instants_input(w, &seg);
	ri = instants_find(w, BYSTANDER);
	app_deliver(w, ri, 300);
	app_reply(w, ri, 100, 0, BYSTANDER_QUEUED);
	stack_flush(w->st, w->now_us);
}

static void child(void)
{
	struct instants_world w;

	instants_up(&w, &live, log_live, script, INSTANTS_START_US, false);
	child_bystander(&w);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (uint32_t n = 0; script->ops[n].kind != OP_END; n++) {
		ARENA_COMMIT(log_live->op, n);
		log_live->now_us = w.now_us;
		child_op(&w, n);
	}
	ARENA_COMMIT(log_live->done, 1);
	_exit(0);
}

/* --- what must hold ---------------------------------------------------- */

static bool check_bytes(struct instants_world *w, uint32_t ri, uint32_t from,
			uint32_t *ret_end, bool *ret_again)
{
	struct iovec iov[64];
	uint32_t pos, got;
	uint64_t offset;
	int n = 64;

	got = stack_peek(w->st, ri, UINT32_MAX, iov, &n, &offset, ret_again);
	*ret_end = from;
	if (!got)
		return true;
	if (offset != from)
		return wrong("delivers from %llu, not from %u",
			     (unsigned long long)offset, from);
	pos = from;
	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++, pos++)
			if (((uint8_t *)iov[i].iov_base)[k] !=
			    instants_client_byte(pos))
				return wrong("a wrong byte at %u", pos);
	*ret_end = pos;
	return true;
}

/* K7 */
static bool check_bystander(struct instants_world *w)
{
	uint32_t ri = instants_find(w, BYSTANDER), end;
	struct stack_conn_info info;
	bool again;

	if (ri == NIL)
		return wrong("the bystander is lost");
	stack_conn_info(w->st, ri, w->now_us, &info);
	if (info.rcv_acked != 100 || info.snd_acked != 0 ||
	    info.snd_queued != BYSTANDER_QUEUED ||
	    info.rcv_held != BYSTANDER_HELD - 100)
		return wrong("the bystander is not as it was");
	if (!check_bytes(w, ri, 100, &end, &again))
		return false;
	if (end != BYSTANDER_HELD || !again)
		return wrong("the bystander's text is not as it was");
	return true;
}

/* K2: must there be a connection, may there be one? */
static bool check_presence(const struct instants_world *w, uint32_t ri,
			   const struct model *before,
			   const struct model *after)
{
	bool established, over;

	(void)w;
	/* The client has seen a SYN-ACK of a record's, and has answered. */
	established = instants_synack(&log_copy, CLIENT) &&
		      (!script->cookies || before->sent);
	over = after->reset || (after->client_fin && after->server_fin);
	if (ri == NIL && established && !over)
		return wrong("the connection is lost");
	if (ri != NIL && before->reset)
		return wrong("the connection is back after its reset");
	return true;
}

/* K4: what has left counts as sent. */
static bool check_sent(const struct instants_world *w, uint32_t ri)
{
	const struct rec *r = &w->shard.recs[ri];
	bool fin;
	uint32_t got = instants_received(&log_copy, CLIENT, &fin);

	if (r->block != NIL &&
	    seq_lt(w->shard.blks[r->block].snd_nxt, r->iss + 1 + got + fin))
		return wrong("has sent less than the client got: %u", got);
	return true;
}

/* K3, K4, K5 */
static bool check_positions(struct instants_world *w, uint32_t ri,
			    const struct model *before,
			    const struct model *after)
{
	struct stack_conn_info info;
	uint32_t queued, end, acked;
	bool fin, again;

	stack_conn_info(w->st, ri, w->now_us, &info);
	if (info.state == TCP_SYN_HELD || info.state == TCP_TIME_WAIT)
		return true;
	queued = (uint32_t)info.snd_acked + info.snd_queued;
	if (!(info.rcv_acked == before->taken && queued == before->replied) &&
	    !(info.rcv_acked == after->taken && queued == after->replied))
		return wrong("taken %u, replied %u: neither before nor after",
			     (unsigned)info.rcv_acked, queued);
	acked = instants_acked(&log_copy, CLIENT, &fin);
	if (script->ack == STACK_ACK_DEFERRED && before->highest < 2900 &&
	    seq_gt(acked, after->taken + after->client_fin) &&
	    info.rcv_held == 0)
		return wrong("acknowledged %u of %u", acked, after->taken);
	if (!check_sent(w, ri) ||
	    !check_bytes(w, ri, (uint32_t)info.rcv_acked, &end, &again))
		return false;
	if (seq_lt(end + info.eof, acked))
		return wrong("has %u, but %u are acknowledged", end, acked);
	return true;
}

/* The client sends again what was not acknowledged, and acknowledges. */
static void finish_client(struct instants_world *w, const struct model *m)
{
	struct instants_seg seg = { .port = CLIENT, .flags = TH_ACK };
	bool fin;
	uint32_t acked = instants_acked(w->log, CLIENT, &fin), end = m->highest;

	if (!instants_synack(w->log, CLIENT)) {
		seg.flags = TH_SYN;
		instants_input(w, &seg);
		return;
	}
	seg.ack = instants_received(w->log, CLIENT, &seg.ack_fin);
	if (acked > end) {
		seg.pos = acked; /* our FIN is */
		instants_input(w, &seg);
		return;
	}
	seg.pos = acked;
	do {
		seg.len = min_u32(end - seg.pos, 1000);
		if (seg.pos + seg.len == end)
			seg.flags |= TH_FIN;
		instants_input(w, &seg);
		seg.pos += seg.len;
	} while (seg.pos < end);
}

/* The application takes and acknowledges all, sends the rest, and closes. */
static bool finish_app(struct instants_world *w, const struct model *m)
{
	uint32_t ri = instants_find(w, CLIENT), end;
	struct stack_conn_info info;
	bool again;
	uint32_t queued;

	if (ri == NIL || w->shard.recs[ri].state == TCP_GONE)
		return true;
	stack_conn_info(w->st, ri, w->now_us, &info);
	if (info.state == TCP_SYN_HELD) {
		stack_accept(w->st, ri, w->now_us);
		return true;
	}
	if (info.state == TCP_TIME_WAIT && !info.active)
		return true;
	if (!check_bytes(w, ri, (uint32_t)info.rcv_acked, &end, &again))
		return false;
	app_deliver(w, ri, 0);
	queued = (uint32_t)info.snd_acked + info.snd_queued;
	app_reply(w, ri, end - (uint32_t)info.rcv_acked, queued,
		  min_u32(m->replied - queued, 2048));
	stack_conn_info(w->st, ri, w->now_us, &info);
	if (info.rcv_acked == m->highest &&
	    info.snd_acked + info.snd_queued == m->replied)
		stack_close(w->st, ri, w->now_us);
	return true;
}

/* Did the client get all of our bytes, and ours only? */
static bool finish_received(const struct instants_log *log,
			    const struct model *m)
{
	const struct instants_out *syn = instants_synack(log, CLIENT);
	uint32_t got;
	bool fin;

	for (uint32_t i = 0; i < log->n_out; i++) {
		const struct instants_out *out = &log->out[i];
		uint32_t pos = syn ? out->seq - (syn->seq + 1) : 0;

		if (out->port != CLIENT)
			continue;
		for (uint32_t k = 0; k < out->len; k++)
			if (out->bytes[k] != instants_server_byte(pos + k))
				return wrong(
					"a wrong byte at %u for the client",
					pos + k);
		if (out->flags & TH_RST && !m->reset)
			return wrong("a RST");
	}
	got = instants_received(log, CLIENT, &fin);
	if (got != m->replied || !fin)
		return wrong("the client got %u of %u%s", got, m->replied,
			     fin ? "" : ", no FIN");
	return true;
}

static void finish_events(struct instants_world *w)
{
	uint16_t events;
	uint32_t ri;

	while ((ri = stack_next_event(w->st, &events)) != NIL)
		if (events & STACK_EV_RESET)
			stack_forget(w->st, ri);
}

/* K6 */
static bool check_finish(struct instants_world *w, const struct model *m)
{
	uint32_t ri, taken = 0, seen = 0;
	bool fin;

	for (uint32_t i = 0; i < ROUNDS_MAX; i++) {
		w->now_us += 300 * USEC_PER_MSEC;
		stack_tick(w->st, w->now_us);
		stack_flush(w->st, w->now_us);
		finish_client(w, m);
		finish_events(w);
		if (!finish_app(w, m))
			return false;
		finish_events(w);
		stack_flush(w->st, w->now_us);
		ri = instants_find(w, CLIENT);
		seen = ri == NIL ? seen : (uint32_t)w->shard.recs[ri].rcv_off;
		taken = max_u32(taken, seen);
		(void)instants_received(w->log, CLIENT, &fin);
		if (fin &&
		    (ri == NIL || w->shard.recs[ri].state == TCP_TIME_WAIT))
			break;
	}
	if (taken != m->highest && ri != NIL)
		return wrong("the application got %u of %u", taken, m->highest);
	return finish_received(w->log, m);
}

static bool check_instant(struct instants_world *w)
{
	uint32_t n = log_copy.op, ri;
	struct model before = model_at(script, n, false),
		     after = model_at(script, n, true);
	const char *bad = shard_check(&w->shard);

	if (counter_get(&w->st->counters[SC_recover_torn]))
		return wrong("a record is torn");
	if (bad)
		return wrong("%s", bad);
	if (!check_bystander(w))
		return false;
	ri = instants_find(w, CLIENT);
	if (!check_presence(w, ri, &before, &after))
		return false;
	if (ri == NIL || after.reset)
		return true;
	if (!check_positions(w, ri, &before, &after))
		return false;
	return check_finish(w, &after);
}

/* --- the parent -------------------------------------------------------- */

/* The parts of the arena that a script of this size can touch. */
struct part {
	uint64_t at, bytes;
};

static struct part parts[8];
static uint32_t n_parts;

/* Slot owners are left out: the daemon's, and no script has one. */
static void parts_init(void)
{
	const struct arena_header *header = live.header;
	struct shard_layout at = arena_shard_layout(header, 0);

	n_parts = 0;
#define PART(from, len) parts[n_parts++] = (struct part){ (from), (len) }
	PART(0, sizeof(*header));
	PART(at.recs, INSTANTS_RECS * sizeof(struct rec));
	PART(at.recs6, INSTANTS_RECS * sizeof(struct rec6));
	PART(at.blks, INSTANTS_RECS * sizeof(struct blk));
	PART(at.rx_chunks, header->rx_chunks_per_shard * sizeof(struct chunk));
	PART(at.rx_bytes, header->rx_chunks_per_shard * CHUNK_BYTES);
	PART(at.tx_chunks, header->tx_chunks_per_shard * sizeof(struct chunk));
	PART(at.tx_bytes, header->tx_chunks_per_shard * CHUNK_BYTES);
#undef PART
}

/* Is the arena another one than at the last instant that was tried? */
static bool parts_changed(const uint8_t *last)
{
	for (uint32_t i = 0; i < n_parts; last += parts[i++].bytes)
		if (memcmp(last, live.base + parts[i].at, parts[i].bytes) != 0)
			return true;
	return false;
}

static void parts_take(uint8_t *last)
{
	for (uint32_t i = 0; i < n_parts; last += parts[i++].bytes) {
		memcpy(last, live.base + parts[i].at, parts[i].bytes);
		memcpy(copy.base + parts[i].at, last, parts[i].bytes);
	}
	log_copy = *log_live;
}

static bool try_instant(void)
{
	struct instants_world w;
	bool good;

	instants_up(&w, &copy, &log_copy, script,
		    log_copy.now_us + INSTANTS_PAUSE_US, true);
	good = check_instant(&w);
	instants_down(&w);
	return good;
}

static bool step(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 ||
	    waitpid(pid, &status, 0) != pid)
		return false;
	return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static bool run_steps(pid_t pid, uint32_t *ret_steps, uint32_t *ret_instants)
{
	static uint8_t last[1 << 20];
	uint32_t n_out = UINT32_MAX, op = UINT32_MAX;

	*ret_steps = *ret_instants = 0;
	while (step(pid) && !log_live->done && ++*ret_steps < STEPS_MAX) {
		if (n_out == log_live->n_out && op == log_live->op &&
		    !parts_changed(last))
			continue;
		n_out = log_live->n_out;
		op = log_live->op;
		parts_take(last);
		++*ret_instants;
		if (!try_instant())
			return false;
	}
	if (!log_live->done) {
		snprintf(why, sizeof(why),
			 "the script did not come to its end");
		return false;
	}
	return true;
}

static void arenas_up(void)
{
	const struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = INSTANTS_RECS,
		.rx_bytes = 64 * CHUNK_BYTES,
		.tx_bytes = 64 * CHUNK_BYTES,
	};

	if (arena_create(&live, NULL, &sizes) < 0 ||
	    arena_create(&copy, NULL, &sizes) < 0)
		abort();
	live.header->vips[0] =
		(struct arena_vip){ .family = 4, .bytes = { 192, 0, 2, 1 } };
	memset(log_live, 0, sizeof(*log_live));
	parts_init();
}

static bool run_script(void)
{
	uint32_t steps = 0, instants = 0;
	bool good = false;
	int status;
	pid_t pid;

	arenas_up();
	pid = fork();
	if (pid == 0)
		child();
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		good = run_steps(pid, &steps, &instants);
	else
		snprintf(why, sizeof(why), "no child: %s", strerror(errno));
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	arena_close(&live);
	arena_close(&copy);
	if (good)
		printf("ok instants-%s: %u instructions, %u instants\n",
		       script->name, steps, instants);
	else
		printf("not ok instants-%s: after %u instructions: %s\n",
		       script->name, steps, why);
	fflush(stdout);
	return good;
}

int main(int argc, char **argv)
{
	int failed = 0;

	log_live = mmap(NULL, sizeof(*log_live), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (log_live == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < instants_n_scripts; i++) {
		script = &instants_scripts[i];
		if (argc < 2 || strcmp(argv[1], script->name) == 0)
			failed |= !run_script();
	}
	return failed;
}
