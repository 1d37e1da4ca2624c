/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_TOOLS_HOLD_H
#define TESTS_TOOLS_HOLD_H

/*
 * The parts of holdc: what one connection does (hold_conn.c), and what was
 * seen of all of them (hold_stats.c).
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define HOLD_ADDRESSES_MAX 4
#define HOLD_FAILURES_MAX 16

/* Both ends included. */
struct hold_range {
	uint64_t min, max;
};

struct hold_options {
	struct sockaddr_storage sa[HOLD_ADDRESSES_MAX];
	uint32_t n_sa;
	uint32_t connections;
	uint32_t bulk; /* of these: one large request after the other */
	uint32_t churn; /* of these: end after some requests, and begin anew */
	struct hold_range size; /* bytes of a request */
	struct hold_range think_us; /* between a reply and the next request */
	uint64_t bulk_bytes; /* of a bulk request */
	uint32_t opening; /* handshakes at a time */
	uint64_t seed;
	uint32_t timeout_s; /* for what is under way after "finish" */
};

enum hold_state {
	HOLD_CLOSED, /* opens at due_us */
	HOLD_CONNECTING,
	HOLD_IDLE, /* sends at due_us */
	HOLD_BUSY, /* a reply is outstanding */
	HOLD_ENDING, /* so it is, and then their FIN */
	HOLD_DONE, /* all is over, in order */
	HOLD_FAILED, /* and this isn't */
	HOLD_STATES
};

enum hold_kind { HOLD_TALK, HOLD_BULK, HOLD_CHURN };

/* What ends a connection out of order. */
enum hold_failure {
	HOLD_RESET, /* ECONNRESET, EPIPE */
	HOLD_REFUSED, /* no connection came about */
	HOLD_EOF, /* FIN before its time */
	HOLD_CORRUPT, /* a byte that is not the one that was sent */
	HOLD_SURPLUS, /* a byte that nobody asked for */
	HOLD_ERROR, /* any other errno */
	HOLD_TIMEOUT, /* still waiting at the end */
	HOLD_FAILURES
};

/* Durations, by octave and eighths of it: within 12.5 %. */
#define HOLD_BINS 512
struct hold_histogram {
	uint64_t bins[HOLD_BINS];
	uint64_t n, max_us;
};

/* Since the beginning, or since a mark. */
struct hold_tally {
	uint64_t began_us;
	uint64_t requests, bytes_out, bytes_in;
	uint64_t opened, ended; /* connections; the latter in order */
	uint64_t failed[HOLD_FAILURES];
	struct hold_histogram
		pause; /* a request's first byte, its reply's last */
	struct hold_histogram connect;
};

/* For a person who looks for the cause. */
struct hold_incident {
	enum hold_failure what;
	enum hold_state state;
	int err;
	uint32_t conn, life;
	uint16_t port;
	uint64_t at_us; /* since the beginning */
	uint64_t sent, received; /* bytes of the connection */
	uint64_t waited_us;
};

struct hold_stats {
	struct hold_tally all, mark;
	uint32_t marks;
	bool ended; /* the rush of last requests says nothing of pauses */
	uint32_t n_incidents;
	struct hold_incident incidents[HOLD_FAILURES_MAX];
	uint64_t wrong_bytes;
};

struct hold_conn {
	uint64_t due_us;
	int fd; /* -1: none */
	uint8_t state; /* enum hold_state */
	uint8_t kind; /* enum hold_kind */
	bool writing; /* EPOLLOUT is asked for */
	bool shut; /* our FIN is sent */
	bool by_close; /* this life ends with close(), not with a FIN */
	uint32_t number;
	uint32_t life; /* how many came before in its place */
	uint32_t requests; /* sent in this life */
	uint32_t requests_max; /* of this life; 0: no limit */
	uint64_t key; /* of this life's pattern */
	uint64_t began_us; /* of what is under way */
	uint64_t allowed, sent, received; /* bytes of the stream */
};

struct hold {
	struct hold_options opt;
	struct hold_stats stats;
	struct hold_conn *conns;
	uint32_t by_state[HOLD_STATES];
	uint32_t first_opened; /* connections that were established once */
	int epfd;
	uint64_t now_us;
	bool finishing; /* each sends a last request, and ends */
};

/* --- hold_conn.c */

void hold_conn_init(struct hold *h, uint32_t number);

/* Do what is due by the clock. */
void hold_conn_tick(struct hold *h, struct hold_conn *c);

/* What epoll reported. */
void hold_conn_event(struct hold *h, struct hold_conn *c, uint32_t events);

/* Out of patience with it. */
void hold_conn_expire(struct hold *h, struct hold_conn *c);

/* Its local port; 0: none. */
uint16_t hold_conn_port(const struct hold_conn *c);

/* Does the connection wait for something from the other side? */
static inline bool hold_conn_waits(const struct hold_conn *c)
{
	return c->state == HOLD_CONNECTING || c->state == HOLD_BUSY ||
	       c->state == HOLD_ENDING;
}

/* --- hold_stats.c */

void hold_tally_begin(struct hold_tally *t, uint64_t now_us);
void hold_stats_pause(struct hold_stats *s, uint64_t us);
void hold_stats_connect(struct hold_stats *s, uint64_t us);
void hold_stats_fail(struct hold_stats *s, const struct hold_incident *what);

/*
 * One line, a JSON object: of a tally and what is outstanding (kind "stat" or
 * "mark"), and of everything at the end.
 */
void hold_stats_print(const struct hold *h, const char *kind, FILE *out);
bool hold_result_print(const struct hold *h, FILE *out);

#endif
