/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ledger - accounts that are right to the cent though servers are killed.
 *
 * Each connection is an account. A client sends lines with an amount, and the
 * answer to each is the number of the booking and the balance after it:
 *
 *	"250\n"  ->  "         1                 250\n"
 *	"-50\n"  ->  "         2                 200\n"
 *
 * Kill any of the servers at any instant (kill -9), or all: each line is
 * booked exactly once, and answered exactly once. It takes three things:
 *
 *	the name	(epoch, id) of xtcp_position(): the same in every process
 *			that is given the connection
 *	the record	a booking is one write to the log, made before it is
 *			answered; it names the bytes of the request that it is for
 *	the order	book, then answer, then acknowledge. A server that dies in
 *			between leaves a request that comes again; its successor
 *			finds in the log what was booked, sends what of the
 *			answers is missing (xtcp_position.sent says from where
 *			on), and has xtcp_done() acknowledge it unseen.
 *
 * Any number of servers share a log, and the log decides: a record counts if
 * it begins where the one before it, of the same account, ended. If two servers
 * book the same request (one was taken for dead, and was not), the first one's
 * record counts, both read that, and only one of them still has the client. In
 * a database this is a table with the primary key (epoch, id, request_from).
 *
 * A server has the accounts in memory as an index of the log, which it reads
 * at start and follows. The log is never compacted; a database does that.
 *
 * Try it:	pool "money" { group "ledger" { port = 4000 } }	in xtcpd.conf
 *		ledger -p 4000 /var/tmp/ledger.log			twice
 *		nc VIP 4000
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xtcp/xtcp.h>

#define LEDGER_PORT 4000
#define LEDGER_MAGIC UINT64_C(0x4c45444745520001)
#define LINE_MAX_BYTES 64 /* with its newline */
#define ANSWER_BYTES 32 /* of every answer: so n of them end at n * 32 */
#define EVENTS 64

/* One booking. A write of so few bytes to a file is whole, or isn't there. */
struct record {
	uint64_t magic;
	uint64_t epoch, id; /* the account */
	uint64_t from, to; /* the request, in the client's stream */
	int64_t before; /* place of the account's last record, or -1 */
	int64_t count, balance; /* of the account, after this */
};

struct account {
	bool used;
	uint64_t epoch, id;
	int64_t last; /* place of its last record that counts, or -1 */
	uint64_t done; /* the client's stream up to here is booked */
	int64_t count, balance;
};

static int gd; /* the one descriptor for all clients */
static int log_fd;
static off_t log_at; /* what is before is in the accounts */
static bool log_sync;
static useconds_t wait_us;
static struct account *accounts; /* a hash table, half empty at least */
static size_t n_accounts, accounts_size;
static bool *leaving; /* by cd: the client has closed its side */
static int leaving_size;

static void die(const char *what, int err)
{
	fprintf(stderr, "ledger: %s: %s\n", what, strerror(err));
	exit(1);
}

static void *resize(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n, size);
	if (!p)
		die("accounts", ENOMEM);
	return p;
}

/* --- the accounts --- */

static struct account *account_place(uint64_t epoch, uint64_t id)
{
	uint64_t at = (epoch ^ id * UINT64_C(0x9e3779b97f4a7c15)) >> 16;
	struct account *a;

	do {
		a = &accounts[at++ & (accounts_size - 1)];
	} while (a->used && (a->epoch != epoch || a->id != id));
	return a;
}

static void accounts_grow(void)
{
	struct account *old = accounts;
	size_t old_size = accounts_size;

	if (n_accounts < accounts_size / 2)
		return;
	accounts_size = old_size ? 2 * old_size : 1024;
	accounts = resize(NULL, accounts_size, sizeof(*accounts));
	memset(accounts, 0, accounts_size * sizeof(*accounts));
	for (size_t i = 0; i < old_size; i++) {
		if (old[i].used)
			*account_place(old[i].epoch, old[i].id) = old[i];
	}
	free(old);
}

/* The account, new if it isn't there. Good until the next call. */
static struct account *account_get(uint64_t epoch, uint64_t id)
{
	struct account *a;

	accounts_grow();
	a = account_place(epoch, id);
	if (!a->used) {
		*a = (struct account){
			.used = true, .epoch = epoch, .id = id, .last = -1
		};
		n_accounts++;
	}
	return a;
}

/* --- the log --- */

static void log_read(off_t at, struct record *ret_r)
{
	ssize_t n = pread(log_fd, ret_r, sizeof(*ret_r), at);

	if (n != sizeof(*ret_r) || ret_r->magic != LEDGER_MAGIC)
		die("the log is damaged", n < 0 ? errno : EIO);
}

/* Take in what was booked since, by us or by others. */
static void log_follow(void)
{
	struct record r[256];
	struct account *a;
	ssize_t n;

	while ((n = pread(log_fd, r, sizeof(r), log_at)) > 0) {
		if ((size_t)n < sizeof(r[0]))
			die("the log is damaged", EIO);
		for (size_t i = 0; i < (size_t)n / sizeof(r[0]); i++) {
			if (r[i].magic != LEDGER_MAGIC)
				die("the log is damaged", EIO);
			a = account_get(r[i].epoch, r[i].id);
			/* Where two have booked the same, the first counts. */
			if (r[i].from == a->done && r[i].before == a->last) {
				a->last = log_at;
				a->done = r[i].to;
				a->count = r[i].count;
				a->balance = r[i].balance;
			}
			log_at += (off_t)sizeof(r[0]);
		}
	}
	if (n < 0)
		die("reading the log", errno);
}

/* Book a request of len bytes. Afterwards the account is beyond it: by our
 * record, or by that of another server that was first. */
static void log_book(const struct account *a, uint64_t len, int64_t amount)
{
	struct record r = {
		.magic = LEDGER_MAGIC,
		.epoch = a->epoch,
		.id = a->id,
		.from = a->done,
		.to = a->done + len,
		.before = a->last,
		.count = a->count + 1,
		.balance = (int64_t)((uint64_t)a->balance + (uint64_t)amount),
	};

	if (write(log_fd, &r, sizeof(r)) != sizeof(r))
		die("writing the log", errno ? errno : EIO);
	if (log_sync && fdatasync(log_fd) < 0)
		die("writing the log", errno);
	if (wait_us)
		usleep(wait_us);
	log_follow();
}

static void log_open(const char *path)
{
	log_fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log_fd < 0)
		die(path, errno);
	log_follow();
}

/* --- a client --- */

/* What became of a client's requests. */
enum served {
	SERVED_WAITS, /* an answer did not fit; xtcp_poll() says when it does */
	SERVED_AGAIN, /* receive again: what was acknowledged, less */
	SERVED_ALL, /* each whole line is booked and answered */
};

static void client_leaves(int cd)
{
	if (cd >= leaving_size) {
		leaving = resize(leaving, (size_t)cd * 2, sizeof(*leaving));
		memset(leaving + leaving_size, 0,
		       (size_t)(cd * 2 - leaving_size) * sizeof(*leaving));
		leaving_size = cd * 2;
	}
	leaving[cd] = true;
}

static void client_end(int cd, int (*end)(int gd, int cd))
{
	if (cd < leaving_size)
		leaving[cd] = false;
	end(gd, cd);
}

/* Always ANSWER_BYTES long: so a position in the answers says which one. */
static void answer_format(const struct record *r, char answer[ANSWER_BYTES])
{
	char text[64];

	snprintf(text, sizeof(text), "%10" PRId64 " %20" PRId64 "\n", r->count,
		 r->balance);
	memcpy(answer, text, ANSWER_BYTES);
}

/* The answer to the account's booking number n. */
static void answer_find(const struct account *a, int64_t n,
			char answer[ANSWER_BYTES])
{
	struct record r;
	off_t at = a->last;

	do {
		log_read(at, &r);
		at = r.before;
	} while (r.count > n);
	answer_format(&r, answer);
}

/*
 * Send the answers that are booked and not sent, and then acknowledge what
 * they are for. Where the connection is ahead of its account the log is not
 * the one that it was served with: that is no account that we can keep.
 */
static enum served catch_up(int cd, const struct account *a,
			    const struct xtcp_position *pos)
{
	uint64_t sent = pos->sent, all = (uint64_t)a->count * ANSWER_BYTES;
	char answer[ANSWER_BYTES];
	int n;

	if (sent > all || pos->offset > a->done) {
		fprintf(stderr,
			"ledger: client %" PRIx64 " is not of this log\n",
			pos->id);
		client_end(cd, xtcp_abort);
		return SERVED_WAITS;
	}
	while (sent < all) {
		size_t from = sent % ANSWER_BYTES;

		answer_find(a, (int64_t)(sent / ANSWER_BYTES) + 1, answer);
		n = xtcp_send(gd, cd, 0, answer + from, ANSWER_BYTES - from);
		if (n < 0)
			return SERVED_WAITS;
		sent += (uint64_t)n;
	}
	if (pos->offset == a->done)
		return SERVED_ALL;
	xtcp_done(gd, cd, a->done);
	return SERVED_AGAIN;
}

/* Book the line of len bytes with which the account goes on, and answer it. */
static enum served serve_line(int cd, const struct account *a,
			      const struct xtcp_position *pos, const char *line,
			      size_t len)
{
	char answer[ANSWER_BYTES];
	struct record r;

	log_book(a, len, strtoll(line, NULL, 10));
	a = account_get(pos->epoch, pos->id);
	log_read(a->last, &r);
	/* Nearly always: nobody else booked, and the answer fits. */
	if (r.from != pos->offset || r.to != r.from + len ||
	    xtcp_room(gd, cd) < ANSWER_BYTES)
		return catch_up(cd, a, pos);
	answer_format(&r, answer);
	if (xtcp_send(gd, cd, len, answer, ANSWER_BYTES) != ANSWER_BYTES)
		return SERVED_WAITS; /* it is gone */
	return SERVED_ALL;
}

/* The n bytes at data are all that is not acknowledged, NUL-terminated. */
static enum served serve_lines(int cd, const char *data, size_t n)
{
	enum served served = SERVED_ALL;
	const struct account *a;
	struct xtcp_position pos;
	const char *end;
	size_t len;

	while (served == SERVED_ALL) {
		if (xtcp_position(gd, cd, &pos) < 0)
			return SERVED_WAITS;
		log_follow();
		a = account_get(pos.epoch, pos.id);
		served = catch_up(cd, a, &pos); /* was it booked before? */
		end = memchr(data, '\n', n);
		if (served != SERVED_ALL || !end)
			break;
		len = (size_t)(end - data) + 1;
		served = serve_line(cd, a, &pos, data, len);
		data += len;
		n -= len;
	}
	if (served == SERVED_ALL && n >= LINE_MAX_BYTES) {
		client_end(cd, xtcp_abort);
		return SERVED_WAITS;
	}
	return served;
}

/* Nothing new came, but there is room for answers again, or the end came. */
static enum served serve_rest(int cd)
{
	struct xtcp_position pos;

	if (xtcp_position(gd, cd, &pos) < 0)
		return SERVED_WAITS;
	return catch_up(cd, account_get(pos.epoch, pos.id), &pos);
}

static void serve(int cd)
{
	static char buf[64 * 1024 + 1];
	enum served served;
	int n;

	do {
		n = xtcp_recv_from(gd, cd, buf, sizeof(buf) - 1);
		if (n < 0 && n != -EAGAIN) {
			client_end(cd, xtcp_close);
			return;
		}
		if (n == 0)
			client_leaves(cd);
		buf[n > 0 ? n : 0] = '\0';
		served = n > 0 ? serve_lines(cd, buf, (size_t)n)
			       : serve_rest(cd);
	} while (served == SERVED_AGAIN);
	/* Half a line is no booking: xtcpd tells the client that it is lost. */
	if (served == SERVED_ALL && cd < leaving_size && leaving[cd])
		client_end(cd, xtcp_close);
}

static void run(void)
{
	struct xtcp_event ev[EVENTS];
	int n;

	for (;;) {
		n = xtcp_poll(ev, EVENTS, -1);
		if (n < 0 && n != -EINTR)
			die("xtcp_poll", -n);
		for (int i = 0; i < n; i++) {
			if (ev[i].cd > 0)
				serve(ev[i].cd);
			else
				(void)xtcp_accept(gd);
		}
	}
}

static int usage(void)
{
	fprintf(stderr,
		"usage: ledger [-s] [-w MICROSECONDS] [-p PORT | -l ADDRESS] LOG\n"
		"  -s  write each booking to the disk before it is answered\n"
		"  -w  wait between booking and answer: kill it there\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *address = NULL;
	int opt, port = LEDGER_PORT;

	while ((opt = getopt(argc, argv, "sw:p:l:")) != -1) {
		if (opt == 's')
			log_sync = true;
		else if (opt == 'w')
			wait_us = (useconds_t)atoi(optarg);
		else if (opt == 'p')
			port = atoi(optarg);
		else if (opt == 'l')
			address = optarg;
		else
			return usage();
	}
	if (optind + 1 != argc || port < 1 || port > 65535)
		return usage();
	log_open(argv[optind]);
	xtcp_initialize(0);
	gd = address ? xtcp_listen_group(PF_INET6, address)
		     : xtcp_open_group(PF_INET6, SOCK_STREAM, 0,
				       (u_int16_t)port);
	if (gd < 0)
		die(address ? address : "the group", -gd);
	xtcp_cork(gd, 1); /* xtcp_poll() writes: a burst at once */
	run();
	return 0;
}
