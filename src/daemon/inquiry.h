/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inquiry - one question of the main thread to all workers, or to one.
 *
 * A worker that doesn't answer within a second is done without; its answer is
 * thrown away when it comes.
 */
#ifndef XTCP_DAEMON_INQUIRY_H
#define XTCP_DAEMON_INQUIRY_H

#include <event2/event.h>
#include <stdint.h>

#include "daemon/worker.h"

#define INQUIRY_TIMEOUT_MS 1000
#define INQUIRY_ARGS_MAX 256

struct inquiry;

/* Where questions start from; the main thread's. */
struct inquirer {
	struct event_base *base; /* borrowed, as all here */
	struct mailbox *box; /* of the main thread, running with base */
	struct worker *const *workers;
	uint32_t n_workers;
	struct inquiry *pending;
	uint32_t n_pending;
};

struct inquiry_kind {
	/*
	 * On the worker: the answer, heap or NULL. *ret_err is 0 before, and
	 * goes to done().
	 */
	void *(*work)(struct worker *w, const void *args, int *ret_err);
	/* Frees an answer. May be NULL when work() gives none. */
	void (*drop)(void *answer);
};

/*
 * On the main thread, once: answers[i] and errs[i] of worker i (borrowed);
 * NULL and -ETIMEDOUT for one that was silent, -EAGAIN for one not asked.
 */
typedef void (*inquiry_done)(void *arg, void *const *answers, const int *errs,
			     uint32_t n);

#define INQUIRY_ALL UINT32_MAX

/*
 * Ask worker `only`, or INQUIRY_ALL. args are copied (args_bytes at most
 * INQUIRY_ARGS_MAX). Returns 0, then done() will run; -ENOMEM.
 */
int inquiry_ask(struct inquirer *in, const struct inquiry_kind *kind,
		uint32_t only, const void *args, size_t args_bytes,
		inquiry_done done, void *arg);

/* Have every pending inquiry be done with what there is. */
void inquirer_cancel(struct inquirer *in);

#endif
