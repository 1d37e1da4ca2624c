/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_XTCP_H
#define XTCP_XTCP_H

/*
 * libxtcp - application servers on xtcpd: libxtcp(3).
 *
 * All client connections of a group share one descriptor, gd, which poll(2),
 * epoll(7) and event libraries can watch; a connection is a small positive
 * number, cd, that means something together with its gd. No call blocks but
 * xtcp_select() and xtcp_poll(); xtcp_open_group() waits for the daemon for at
 * most five seconds.
 *
 * Names, argument order and meaning are those of figure 4 of the patent
 * application WO 02/091709 A2, unless marked as an extension. Every call
 * returns a negative errno value on failure and leaves errno alone.
 *
 * Errors that any call may return, and that are not repeated below:
 *
 *	-EINVAL	xtcp_initialize() was not called, or a pointer is NULL
 *	-EBADF	gd is no group of this context, or cd no connection of gd
 *	-ENOMEM	memory is short
 *
 * Threads: the plain calls work on one default context, the xtcp_ctx_ ones on
 * a context of the caller's. A context has one lock, so any thread may call
 * at any time; a thread that waits in xtcp_select() or xtcp_poll() does not
 * hold it. One thread at a time should wait for a given group.
 */

#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the daemon listens, unless the environment names XTCP_ATTACH. */
#define XTCP_ATTACH_DEFAULT "/run/xtcpd/attach.sock"

/* --- pools and groups ---------------------------------------------------- */

/*
 * Begin. buffer_pool_size, in bytes, makes a receive pool of this
 * application's own in the daemon, within the daemon's limits, for the groups
 * opened afterwards; 0 uses the configured pool that holds the port.
 * Returns 0; -EALREADY when it was called before.
 */
int xtcp_initialize(size_t buffer_pool_size);

/*
 * End: closes every group as xtcp_close_group() does.
 * Returns 0, or -EINVAL when there was no xtcp_initialize().
 */
int xtcp_finalize(void);

/*
 * Serve the connections to a port.
 * domain	PF_INET; PF_INET6 (both families, as a dual-stack socket);
 *		PF_UNIX: local clients of the group, which connect to
 *		xtcp-PORT.sock in the directory XTCP_LOCAL_DIR of the
 *		environment, else in that of the attach socket. They are
 *		served without the daemon, with the same calls.
 * type		SOCK_STREAM
 * protocol	0 or IPPROTO_TCP
 * port		1 to 65535
 * Returns the group descriptor, > 0: a real descriptor, readable while calls
 * have something to hand out. Close it with xtcp_close_group(), not close().
 * -EINVAL, -EAFNOSUPPORT	an argument is out of range
 * -ENOENT, -ECONNREFUSED	no daemon listens at the attach socket, or the
 *				daemon has no group for that port (-ENOENT)
 * -EACCES			no permission to use the socket
 * -ETIMEDOUT			the daemon did not answer within five seconds
 * -EPROTO			what answered is no xtcpd of our version
 * and what else the daemon says, such as -EADDRINUSE.
 */
int xtcp_open_group(int domain, int type, int protocol, u_int16_t port);

/*
 * Extension: serve what an xtcpd sends that has this application configured
 * as `backend { address = ... }`. Listens at address, "unix:PATH" or
 * "tcp:HOST:PORT"; the daemon connects, says which group it is for, and comes
 * again after a loss. A stale socket file is replaced.
 * domain	PF_INET or PF_INET6
 * Returns the group descriptor, as xtcp_open_group().
 * -EINVAL	address can't be read
 * -EADDRINUSE	somebody listens there already; else what bind(2) says
 */
int xtcp_listen_group(int domain, const char *address);

/*
 * Stop serving. The daemon's connections live on: it offers them, with their
 * unacknowledged requests, to the group's other backends or to the next one
 * that attaches. Local clients are disconnected. Every cd of gd is gone.
 * Returns 0.
 */
int xtcp_close_group(int gd);

/* --- connections --------------------------------------------------------- */

/*
 * The next connection that was not accepted yet. In a group with accept =
 * "application" this completes the client's handshake; otherwise connections
 * come here when they are announced or have sent their first bytes.
 * Returns cd, > 0; -EAGAIN when there is none.
 */
int xtcp_accept(int gd);

/*
 * Extension: refuse, with a RST, the connection that xtcp_accept() would have
 * returned. Returns 0; -EAGAIN when there is none.
 */
int xtcp_reject(int gd);

/*
 * The client's address and port, in ret_sa.
 * Returns 0; -EAFNOSUPPORT when it is not an IPv4 one (see xtcp_pars6()).
 */
int xtcp_pars(int gd, int cd, struct sockaddr_in *ret_sa);

/*
 * Extension: the client's address as sockaddr_in, sockaddr_in6 or, for a
 * local client, sockaddr_un without a path. Returns 0.
 */
int xtcp_pars6(int gd, int cd, struct sockaddr_storage *ret_ss);

/*
 * Done with a connection: FIN after what was sent. cd is free, and is not
 * used again soon. Data that was not acknowledged is never acknowledged.
 * Returns 0.
 */
int xtcp_close(int gd, int cd);

/*
 * Extension: half-close. FIN after what was sent; receiving and acknowledging
 * go on. Returns 0; -ECONNRESET.
 */
int xtcp_shutdown(int gd, int cd);

/* Extension: RST, and cd is free as after xtcp_close(). Returns 0. */
int xtcp_abort(int gd, int cd);

/* --- data ---------------------------------------------------------------- */

/*
 * Receive from the next connection, in turn, that has something to tell, and
 * put its cd in *ret_cd. What is returned is *everything* of that connection
 * that was not acknowledged yet, oldest first, as far as len bytes hold it. A
 * connection has something to tell
 *	- when new data came,
 *	- when a send acknowledged part, but not all, of what was there,
 *	- when len was too small for all there was,
 *	- once when the client has closed, once when it is gone.
 * A connection that was not accepted before is thereby accepted, but in a
 * group with accept = "application".
 * Returns
 *	> 0		bytes in buf, at most len (and INT_MAX)
 *	0		the client has closed its side; all before was handed out
 *	-ECONNRESET	the connection is gone; xtcp_close() frees cd
 *	-EAGAIN		nothing to tell; *ret_cd is not set
 *	-EINVAL		len is 0
 */
int xtcp_recv(int gd, int *ret_cd, void *buf, size_t len);

/*
 * Extension: the same for one connection, e.g. one that xtcp_poll() named.
 * Returns as xtcp_recv().
 */
int xtcp_recv_from(int gd, int cd, void *buf, size_t len);

/*
 * Acknowledge ackd bytes of what the last receive on cd returned, from its
 * beginning, and send len bytes of buf. The acknowledgement reaches the
 * client whether or not the data could be taken, with its last byte if
 * possible; only then does the client forget the request. Data that is taken
 * whole reaches the client or the request comes again, whoever dies. len 0 (buf is not looked at)
 * acknowledges only; several sends may share one receive's bytes.
 * What is left unacknowledged is returned again by the next receive.
 * Returns
 *	>= 0		bytes taken, perhaps fewer than len
 *	-EAGAIN		none of len > 0 could be taken now (a slow client, or the
 *			daemon is away); see XTCP_EV_WRITE
 *	-EINVAL		ackd is more than the last receive returned and was not
 *			acknowledged since: nothing is acknowledged or sent
 *	-ECONNRESET	the connection is gone
 *	-EPIPE		data after xtcp_shutdown(); ackd is acknowledged
 */
int xtcp_send(int gd, int cd, size_t ackd, void *buf, size_t len);

/*
 * Extension: how many bytes xtcp_send() would take on cd now: for who wants to
 * acknowledge exactly the requests whose replies fit.
 * Returns >= 0 (at most INT_MAX); 0 counts as a send that fell short, see
 * XTCP_EV_WRITE; -ECONNRESET; -EPIPE after xtcp_shutdown().
 */
int xtcp_room(int gd, int cd);

/*
 * Extension: gather. With on != 0 what xtcp_send() takes is written to the
 * daemon in larger pieces: at the latest by the receive that returns -EAGAIN,
 * by xtcp_select(), xtcp_poll() or xtcp_flush(), all of which must then follow.
 * Off at first: each send is written at once. Returns 0.
 */
int xtcp_cork(int gd, int on);

/* Extension: write what is gathered. Returns 0. */
int xtcp_flush(int gd);

/* --- exactly once -------------------------------------------------------- */

/*
 * Where a connection stands. Byte 0 of each of its streams is the first after
 * the handshake.
 */
struct xtcp_position {
	/*
	 * Together they name the connection for as long as it lives, in every
	 * process that is given it, and never another one. Both are 0 for a
	 * local client, which does not outlive this process.
	 */
	u_int64_t epoch, id;
	/*
	 * In the client's stream, of the first byte that is not acknowledged:
	 * what a receive returns begins here.
	 */
	u_int64_t offset;
	/*
	 * Bytes before this position were delivered before, perhaps to a process
	 * that did not live to acknowledge them. Equal to offset: none.
	 */
	u_int64_t redelivered;
	/*
	 * In the stream of replies, of the next byte that xtcp_send() takes. Of
	 * a connection that is new to this process: all before it are with
	 * xtcpd or the client already, whoever sent them.
	 */
	u_int64_t sent;
};

/*
 * Extension: where the connection stands. A durable record of what was done,
 * with (epoch, id), the offset after the request and the position after the
 * reply, made before the reply is sent, is all that it takes to process every
 * request exactly once, and send every reply exactly once, over the death of
 * any process: see "Exactly once" in libxtcp(3), and examples/ledger.c.
 * Fills *ret_pos. Returns 0; -ECONNRESET.
 */
int xtcp_position(int gd, int cd, struct xtcp_position *ret_pos);

/*
 * Extension: all of the client's stream before position offset is done, as
 * the application's record has it: what of it was received is acknowledged, and
 * what of it comes yet is acknowledged as it comes. No receive returns it. First
 * send what the record has of the replies to it from xtcp_position.sent on: once
 * it is acknowledged nobody asks for them again.
 * offset	at or before what was acknowledged already: nothing happens
 * Returns 0; -ECONNRESET.
 */
int xtcp_done(int gd, int cd, u_int64_t offset);

/* --- waiting ------------------------------------------------------------- */

/* Sets of gd. Numbers outside 0..XTCP_SETSIZE-1 are never in a set. */
#define XTCP_SETSIZE 4096
#define XTCP_SETWORD (sizeof(unsigned long) * CHAR_BIT)

typedef struct {
	unsigned long bits[XTCP_SETSIZE / XTCP_SETWORD];
} xtcp_set;

static inline void xtcp_set_zero(xtcp_set *set)
{
	memset(set, 0, sizeof(*set));
}

static inline void xtcp_set_add(int gd, xtcp_set *set)
{
	if (gd >= 0 && gd < XTCP_SETSIZE)
		set->bits[(size_t)gd / XTCP_SETWORD] |=
			1UL << ((size_t)gd % XTCP_SETWORD);
}

static inline void xtcp_set_del(int gd, xtcp_set *set)
{
	if (gd >= 0 && gd < XTCP_SETSIZE)
		set->bits[(size_t)gd / XTCP_SETWORD] &=
			~(1UL << ((size_t)gd % XTCP_SETWORD));
}

static inline int xtcp_set_has(int gd, const xtcp_set *set)
{
	return gd >= 0 && gd < XTCP_SETSIZE &&
	       (set->bits[(size_t)gd / XTCP_SETWORD] >>
			((size_t)gd % XTCP_SETWORD) &
		1UL) != 0;
}

#define XTCP_ZERO(set) xtcp_set_zero(set)
#define XTCP_SET(gd, set) xtcp_set_add((gd), (set))
#define XTCP_CLR(gd, set) xtcp_set_del((gd), (set))
#define XTCP_ISSET(gd, set) xtcp_set_has((gd), (set))

/*
 * Wait until a group of readgds has something to receive or one of acceptgds
 * something to accept, or until timeout has passed (NULL: for ever; zero:
 * look only). Either set may be NULL. On return the sets hold the ready
 * groups alone; timeout is not changed.
 * n	highest gd + 1, as in select(2), or the number of groups in the sets,
 *	as the patent has it: every group in the sets is watched either way,
 *	and only a negative n is an error.
 * Returns the number of ready groups, counted in each set; 0 after timeout;
 * -EINTR, -EINVAL (n or timeout), -EBADF; the sets are unchanged on failure.
 */
int xtcp_select(int n, xtcp_set *readgds, xtcp_set *acceptgds,
		struct timeval *timeout);

/* What xtcp_poll() reports; all but WRITE as long as they are true. */
enum xtcp_event_bits {
	XTCP_EV_ACCEPT = 1 << 0, /* of gd (cd is 0): xtcp_accept() has one */
	XTCP_EV_READ = 1 << 1, /* xtcp_recv_from() has something to tell */
	XTCP_EV_WRITE = 1 << 2, /* once: a send that fell short may go on */
	XTCP_EV_CLOSED = 1 << 3, /* with READ: the client has closed */
	XTCP_EV_RESET = 1 << 4, /* with READ: the connection is gone */
	/* with READ: some of the data was delivered before, perhaps to another
	 * process that did not live to acknowledge it */
	XTCP_EV_REDELIVERED = 1 << 5,
};

struct xtcp_event {
	int gd;
	int cd; /* 0: the group itself */
	uint32_t events; /* enum xtcp_event_bits */
};

/*
 * Extension: wait for events of all groups of the context, per connection,
 * for servers that outgrow a select on groups. Fills at most n of ev, in turn
 * over the connections; timeout_ms as in poll(2): -1 for ever, 0 not at all.
 * Returns how many were filled; 0 after timeout; -EINTR; -EINVAL (n < 1);
 * -EBADF (no group is open).
 */
int xtcp_poll(struct xtcp_event *ev, int n, int timeout_ms);

/* --- contexts ------------------------------------------------------------ */

/*
 * Extension: the same calls on a context of one's own, e.g. one per thread. A
 * gd or cd means nothing in another context.
 */
struct xtcp_ctx;

/* As xtcp_initialize(). Returns 0 and a new context in ret_ctx; -ENOMEM. */
int xtcp_ctx_new(size_t buffer_pool_size, struct xtcp_ctx **ret_ctx);

/* As xtcp_finalize(); accepts NULL. No other call may be under way. */
void xtcp_ctx_free(struct xtcp_ctx *ctx);

int xtcp_ctx_open_group(struct xtcp_ctx *ctx, int domain, int type,
			int protocol, u_int16_t port);
int xtcp_ctx_listen_group(struct xtcp_ctx *ctx, int domain,
			  const char *address);
int xtcp_ctx_close_group(struct xtcp_ctx *ctx, int gd);
int xtcp_ctx_accept(struct xtcp_ctx *ctx, int gd);
int xtcp_ctx_reject(struct xtcp_ctx *ctx, int gd);
int xtcp_ctx_pars(struct xtcp_ctx *ctx, int gd, int cd,
		  struct sockaddr_in *ret_sa);
int xtcp_ctx_pars6(struct xtcp_ctx *ctx, int gd, int cd,
		   struct sockaddr_storage *ret_ss);
int xtcp_ctx_close(struct xtcp_ctx *ctx, int gd, int cd);
int xtcp_ctx_shutdown(struct xtcp_ctx *ctx, int gd, int cd);
int xtcp_ctx_abort(struct xtcp_ctx *ctx, int gd, int cd);
int xtcp_ctx_recv(struct xtcp_ctx *ctx, int gd, int *ret_cd, void *buf,
		  size_t len);
int xtcp_ctx_recv_from(struct xtcp_ctx *ctx, int gd, int cd, void *buf,
		       size_t len);
int xtcp_ctx_send(struct xtcp_ctx *ctx, int gd, int cd, size_t ackd,
		  const void *buf, size_t len);
int xtcp_ctx_position(struct xtcp_ctx *ctx, int gd, int cd,
		      struct xtcp_position *ret_pos);
int xtcp_ctx_done(struct xtcp_ctx *ctx, int gd, int cd, u_int64_t offset);
int xtcp_ctx_room(struct xtcp_ctx *ctx, int gd, int cd);
int xtcp_ctx_cork(struct xtcp_ctx *ctx, int gd, int on);
int xtcp_ctx_flush(struct xtcp_ctx *ctx, int gd);
int xtcp_ctx_select(struct xtcp_ctx *ctx, int n, xtcp_set *readgds,
		    xtcp_set *acceptgds, const struct timeval *timeout);
int xtcp_ctx_poll(struct xtcp_ctx *ctx, struct xtcp_event *ev, int n,
		  int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
