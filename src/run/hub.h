/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_HUB_H
#define XTCP_RUN_HUB_H

/*
 * The streams of this process: one group per port that is listened on, and
 * what has to be written to them. All with the lock held.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/direct.h"

struct vconn;
struct vlistener;

struct hub_port {
	struct hub_port *next;
	uint16_t port; /* host order */
	struct group *g; /* NULL: this process has no streams yet */
	struct vconn **conns; /* by cd */
	uint32_t n_conns; /* size of conns */
	uint32_t n_open; /* connections in it */
	struct vlistener *listeners; /* through next_of_port */
};

/* The port, made when there is none; NULL: memory is short. */
struct hub_port *hub_port_get(uint16_t port);

/* The process serves the port: streams come up. 0, or -EMFILE etc. */
int hub_attach(struct hub_port *p);

/* What to do about the error with which an attach socket can't be used, or "". */
const char *hub_hint(int why);

/* The port's last listener and connection may be gone: then its streams go. */
void hub_detach_if_idle(struct hub_port *p);

/* Whether xtcpd has a group for the port, see open_probe(). */
int hub_probe(uint16_t port, int *ret_why);

/* p->conns[c->cd] is vc from now on. 0 or -ENOMEM. */
int hub_conn_set(struct hub_port *p, uint32_t cd, struct vconn *vc);
void hub_conn_clear(struct hub_port *p, uint32_t cd);

/* Readable when hub_pump() has something to do; -1: no streams yet. */
int hub_descriptor(void);

/* Take in what the streams have brought, and tell everyone concerned. */
void hub_pump(void);

/* Something was put into a stream's queue, which hub_flush() writes. */
void hub_wrote(struct hub_port *p);

/* Write acknowledgements that are due, and all that is gathered. */
void hub_flush(void);

/* After a write: gathered while this thread has a batch in hand, else written. */
void hub_flush_soon(void);

/* This thread, unless it has events in hand, may go on to wait elsewhere. */
void hub_flush_aside(void);

/* This thread goes on to wait for descriptors of the kernel's alone; without
 * the lock. */
void hub_settle(void);

/* This thread was given n events of virtual descriptors at once. */
void hub_batch(int n);

/* A new descriptor that only takes a number; -EMFILE etc. */
int hub_placeholder(bool cloexec);

/* In the child of a fork(): the streams are the parent's. */
void hub_forked(void);

#endif
