/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_LIB_FAKE_H
#define XTCP_TESTS_LIB_FAKE_H

/*
 * The other end of libxtcp, driven by the test: it listens at an attach
 * socket in a directory of its own and speaks frames by hand.
 *
 * All is one thread, but for xtcp_open_group(), which waits for us: it runs
 * beside. While the fake waits for a frame it lets the library work, by an
 * xtcp_select() that looks only.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/frame.h"
#include "proto/stream.h"
#include "xtcp/xtcp.h"

#define FAKE_WORKERS_MAX 4
#define FAKE_BYTES 300000u
#define FAKE_WINDOW 65536u /* HELLO.conn_window: H is half of it */

struct fake_stream {
	int fd;
	struct frame_reader in;
	uint16_t wanted; /* HELLO.worker of the library */
	uint64_t instance; /* HELLO.instance of the library */
	uint16_t hello_flags; /* HELLO.flags of the library */
	struct frame_attach attach; /* what the library asked for */
};

struct fake {
	char dir[64];
	char attach[96]; /* path of the attach socket */
	int listen_fd;
	uint16_t workers;
	uint16_t first_worker; /* given to FRAME_WORKER_ANY */
	uint16_t hello_flags; /* FRAME_HELLO_RESUME at first */
	uint32_t stream_credit; /* 1 MiB at first */
	uint64_t epoch; /* of our ids; 0 at first: not told */
	uint8_t attached_flags;
	struct fake_stream s[FAKE_WORKERS_MAX];
	struct xtcp_ctx *ctx;
	int gd;
	pthread_t opener;
	int domain;
	int open_rc;
};

/* Fixture: a directory, a listener, a context; nothing is open. */
void fake_init(struct fake *k);
void fake_fini(struct fake *k);

/* Starts xtcp_ctx_open_group(domain, port 5222) beside. */
void fake_open_begin(struct fake *k, int domain);

/* Waits for it. Returns what it returned; k->gd is set when it's good. */
int fake_open_end(struct fake *k);

/* Both, with a whole handshake for each worker. The gd. */
int fake_open(struct fake *k);

/* Accepts one stream of the library into s, which is raw. */
void fake_accept(struct fake *k, struct fake_stream *s);

/* HELLO and ATTACH both ways on an accepted stream, as worker. */
void fake_handshake(struct fake *k, struct fake_stream *s, uint16_t worker);

/* fake_accept() and handshake: the library comes again, for worker 0. */
void fake_reaccept(struct fake *k);

/* The PING that ends the resumption must be next; answers it. */
void fake_resumed(struct fake *k, struct fake_stream *s);

/* Closes the stream: the daemon dies. */
void fake_drop(struct fake_stream *s);

/* Sends a frame; f->length is set. */
void fake_send(struct fake_stream *s, struct frame f, const void *payload,
	       size_t n);

/* Sends DATA with FRAME_F_FIRST, from 192.0.2.1:1000+conn. */
void fake_first(struct fake_stream *s, uint64_t conn, uint64_t offset,
		uint8_t flags, const char *text);

/* Sends DATA. */
void fake_data(struct fake_stream *s, uint64_t conn, uint64_t offset,
	       const char *text);

/* A frame_addr for conn, family 4 or 6. */
struct frame_addr fake_addr(uint64_t conn, uint8_t family,
			    uint64_t send_offset);

/* The next frame of the library must be of that type; payload is borrowed. */
struct frame fake_expect(struct fake *k, struct fake_stream *s, uint8_t type,
			 const uint8_t **ret_payload);

/* Whether a frame waits (the library has worked before). */
bool fake_has_frame(struct fake *k, struct fake_stream *s);

/* Expects that the library closes the stream. */
void fake_expect_close(struct fake *k, struct fake_stream *s);

/* xtcp_ctx_recv() into a buffer, with a NUL after it. */
int fake_recv_text(struct fake *k, int *ret_cd, char buf[64]);

/* A connection that has sent text from position 0, which was received. */
int fake_connect_text(struct fake *k, uint64_t conn, const char *text);

/* xtcp_ctx_send() of len bytes of no meaning, at most FAKE_BYTES. */
int fake_send_bytes(struct fake *k, int cd, size_t ackd, size_t len);

/* CREDIT: of a connection up to offset, or of the stream (conn 0). */
void fake_credit(struct fake_stream *s, uint64_t conn, uint64_t offset,
		 uint32_t bytes);

/* The library takes in what has come. */
void fake_pump(struct fake *k);

#endif
