/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mailbox - messages between the main thread and the workers.
 *
 * A message is a function to run on the receiving thread, embedded in what it
 * works on (container_of()), so that posting allocates nothing. For questions
 * and hand-overs of streams; packets never go this way (I4).
 */
#ifndef XTCP_DAEMON_MAILBOX_H
#define XTCP_DAEMON_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mail {
	struct mail *next;
	/* Runs once on the receiver's thread; the mail is its own from then on. */
	void (*run)(struct mail *mail, void *receiver);
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *head;
	struct mail **tail;
	uint32_t n;
	uint32_t reserved; /* places that are somebody's already */
	uint32_t max;
	bool closed;
	int fd; /* eventfd, readable while there is mail */
};

/* For at most max messages that wait. Returns 0 or a negative errno. */
int mailbox_init(struct mailbox *box, uint32_t max);

/* No mail may be left in it: mailbox_close(), mailbox_run(), then this. */
void mailbox_fini(struct mailbox *box);

/*
 * Any thread: give mail to the receiver. Returns 0; -EAGAIN when max messages
 * wait; -EPIPE after mailbox_close(). On failure the mail is the caller's.
 */
int mailbox_post(struct mailbox *box, struct mail *mail);

/*
 * Any thread: keep a place for a mail that must not be refused later. Returns
 * as mailbox_post(). Each is used up by mailbox_post_reserved(), which fails
 * with -EPIPE alone, or given back.
 */
int mailbox_reserve(struct mailbox *box);
void mailbox_unreserve(struct mailbox *box);
int mailbox_post_reserved(struct mailbox *box, struct mail *mail);

/* Receiver: run all that waits now, in order. Returns how many that were. */
uint32_t mailbox_run(struct mailbox *box, void *receiver);

/* Any thread: refuse further mail; what is there can still be run. */
void mailbox_close(struct mailbox *box);

#endif
