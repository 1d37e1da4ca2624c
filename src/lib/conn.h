/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_CONN_H
#define XTCP_LIB_CONN_H

/*
 * The connections of a group: a table by cd and by the daemon's id, queues
 * through it, and the received bytes that wait for acknowledgement.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The queues that a connection can stand in, one of each kind at a time. */
enum conn_queue_kind {
	CONN_Q_READY, /* the group's: something for xtcp_recv() */
	CONN_Q_ACCEPT, /* the group's: the application doesn't know it yet */
	CONN_Q_WRITE, /* a stream's: waits for room; or the group's: has room */
	CONN_Q_KINDS,
};

enum conn_flag {
	CONN_F_USED = 1 << 0, /* the slot is taken */
	CONN_F_KNOWN = 1 << 1, /* the application has the cd */
	CONN_F_WAITS = 1 << 2, /* the client's handshake waits for us */
	CONN_F_UNREAD = 1 << 3, /* received bytes are due to be returned */
	CONN_F_EOF = 1 << 4, /* the client has closed its side */
	CONN_F_EOF_DUE = 1 << 5, /* ... and the application doesn't know */
	CONN_F_RESET = 1 << 6, /* the connection is gone */
	CONN_F_RESET_DUE = 1 << 7, /* ... and the application doesn't know */
	CONN_F_SHUT = 1 << 8, /* xtcp_shutdown() was called */
	CONN_F_CLOSED = 1 << 9, /* the application let go of the cd */
	CONN_F_NEED_ACK = 1 << 10, /* an acknowledgement waits for room */
	CONN_F_SHORT = 1 << 11, /* a send fell short: owed an XTCP_EV_WRITE */
	CONN_F_BLOCKED = 1 << 12, /* in CONN_Q_WRITE: the stream's queue */
	CONN_F_REDELIVERED = 1 << 13, /* some unacknowledged bytes were */
};

struct local_conn;

struct conn {
	union {
		uint64_t id; /* of the daemon; 0: it has none any more */
		struct local_conn *local; /* of a PF_UNIX group */
	};
	uint64_t acked; /* position acknowledged by the application;
			 * CLOSED: queue position to be confirmed */
	uint64_t done; /* position up to which xtcp_done() was said */
	uint64_t redelivered; /* position up to which bytes came again */
	uint64_t snd_pos; /* position of the next reply byte */
	uint64_t snd_limit; /* position that the credit reaches */
	uint8_t *rx; /* NULL when there is nothing unacknowledged */
	uint32_t rx_cap, rx_off, rx_len; /* bytes; rx_len from rx_off */
	uint32_t returned; /* bytes of rx that may be acknowledged */
	uint32_t cd;
	struct {
		uint32_t next, prev; /* cd, 0: none */
	} q[CONN_Q_KINDS];
	uint16_t flags; /* enum conn_flag */
	uint16_t link; /* index of the stream that serves it */
	uint16_t remote_port;
	uint16_t local_number; /* group_local(); 0: unknown */
	uint8_t family; /* 4, 6, 1: local */
	uint8_t queued; /* bits of enum conn_queue_kind */
	uint8_t remote[16]; /* address, network order */
};

/* Largest number of unacknowledged bytes of one connection. */
#define CONN_RX_MAX (1u << 30)

struct conn_queue {
	uint32_t head, tail; /* cd, 0: empty */
	enum conn_queue_kind kind;
};

struct conn_table {
	struct conn **chunks; /* CONN_CHUNK slots each; slots never move */
	uint32_t n_chunks;
	uint32_t n_slots; /* slots that were ever used; the highest cd */
	uint32_t n_used;
	uint32_t free_head, free_tail, n_free; /* through q[CONN_Q_READY] */
	uint32_t *index; /* open addressing by id: cd, 0: empty */
	uint32_t index_size; /* power of two, or 0 */
	uint32_t index_used;
};

/* Frees all connections and the table, which is then empty. */
void conn_table_fini(struct conn_table *t);

/*
 * A new connection with that id (0: none, not in the index) and all else
 * zero, or NULL when memory is short. cd numbers are given again only after
 * many others were.
 */
struct conn *conn_new(struct conn_table *t, uint64_t id);

/* Frees the slot; the connection must stand in no queue. */
void conn_free(struct conn_table *t, struct conn *c);

/* The connection in slot cd, whatever its flags say; NULL for a free slot. */
struct conn *conn_get(const struct conn_table *t, uint32_t cd);

/* The connection with the daemon's id, not 0; NULL when there is none. */
struct conn *conn_find(const struct conn_table *t, uint64_t id);

/* Forgets the daemon's id, so that it can come again for another one. */
void conn_drop_id(struct conn_table *t, struct conn *c);

/* Puts c at the end of q, unless it stands in a queue of that kind already. */
void conn_queue_push(struct conn_table *t, struct conn_queue *q,
		     struct conn *c);

/* Takes c out of q, where it stands. */
void conn_queue_remove(struct conn_table *t, struct conn_queue *q,
		       struct conn *c);

/* The first of q, or NULL; it stays there. */
struct conn *conn_queue_head(const struct conn_table *t,
			     const struct conn_queue *q);

/* The one after c, which stands in q; NULL at the end. */
struct conn *conn_queue_next(const struct conn_table *t,
			     const struct conn_queue *q, const struct conn *c);

/* Whether c stands in a queue of that kind. */
static inline bool conn_is_queued(const struct conn *c,
				  enum conn_queue_kind kind)
{
	return (c->queued >> kind & 1) != 0;
}

/* Position after the last byte received. */
static inline uint64_t conn_rcv_pos(const struct conn *c)
{
	return c->acked + c->rx_len;
}

/* Appends n received bytes. Returns 0; -ENOMEM; -EMSGSIZE over CONN_RX_MAX. */
int conn_rx_append(struct conn *c, const void *data, size_t n);

/*
 * Copies all unacknowledged bytes, as far as len goes, and notes what may be
 * acknowledged; UNREAD stays set when there were more. Returns their number.
 */
size_t conn_rx_read(struct conn *c, void *ret_buf, size_t len);

/*
 * Copies what follows the first skip unacknowledged bytes (skip <= c->rx_len),
 * as far as len goes; it may be acknowledged from then on. Returns the number
 * of bytes. No flag changes: for who reads on by position (direct.h).
 */
size_t conn_rx_peek(struct conn *c, size_t skip, void *ret_buf, size_t len);

/*
 * The application has processed n of the returned bytes (n <= c->returned):
 * they are let go of, and what is left becomes due again (UNREAD).
 */
void conn_rx_ack(struct conn *c, size_t n);

/*
 * Acknowledges, unseen, what was received of the bytes before c->done, as
 * conn_rx_ack() does. Returns how many bytes that were.
 */
size_t conn_rx_skip(struct conn *c);

/* Lets go of all received bytes, acknowledged or not. */
void conn_rx_drop(struct conn *c);

#endif
