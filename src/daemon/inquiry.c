/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/inquiry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One worker's part of an inquiry; travels to the worker and back. */
struct inquiry_part {
	struct mail mail;
	struct inquiry *inquiry;
	void *answer;
	int err;
	bool back; /* set on the main thread alone */
};

struct inquiry {
	struct inquiry *next;
	struct inquirer *in;
	const struct inquiry_kind *kind;
	inquiry_done done; /* NULL: it was called */
	void *arg;
	struct event *timer;
	uint32_t under_way; /* parts that are not back */
	_Alignas(16) uint8_t args[INQUIRY_ARGS_MAX];
	struct inquiry_part parts[];
};

static void inquiry_free(struct inquiry *q)
{
	struct inquiry **at = &q->in->pending;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	q->in->n_pending--;
	for (uint32_t i = 0; i < q->in->n_workers; i++)
		if (q->parts[i].answer)
			q->kind->drop(q->parts[i].answer);
	event_free(q->timer);
	free(q);
}

static void inquiry_finish(struct inquiry *q)
{
	inquiry_done done = q->done;
	void *answers[ARENA_WORKERS_MAX] = { NULL };
	int errs[ARENA_WORKERS_MAX];

	if (!done)
		return;
	q->done = NULL;
	evtimer_del(q->timer);
	for (uint32_t i = 0; i < q->in->n_workers; i++) {
		const struct inquiry_part *part = &q->parts[i];

		answers[i] = part->back ? part->answer : NULL;
		errs[i] = part->back ? part->err : -ETIMEDOUT;
	}
	done(q->arg, answers, errs, q->in->n_workers);
}

static void inquiry_on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct inquiry *q = arg;

	(void)fd;
	(void)what;
	inquiry_finish(q);
	/* No answer will come to free it when nobody could be asked. */
	if (q->under_way == 0)
		inquiry_free(q);
}

static void inquiry_on_answer(struct mail *mail, void *receiver)
{
	struct inquiry_part *part =
		container_of(mail, struct inquiry_part, mail);
	struct inquiry *q = part->inquiry;

	(void)receiver;
	part->back = true;
	if (--q->under_way > 0)
		return;
	inquiry_finish(q);
	inquiry_free(q);
}

static void inquiry_on_worker(struct mail *mail, void *receiver)
{
	struct inquiry_part *part =
		container_of(mail, struct inquiry_part, mail);
	struct inquiry *q = part->inquiry;
	int err;

	part->answer = q->kind->work(receiver, q->args, &part->err);
	mail->run = inquiry_on_answer;
	/* The main thread's box takes all that is under way. */
	err = mailbox_post(q->in->box, mail);
	assert(err == 0);
}

static void inquiry_send(struct inquiry *q, uint32_t i)
{
	struct inquiry_part *part = &q->parts[i];

	part->mail.run = inquiry_on_worker;
	q->under_way++;
	if (worker_post(q->in->workers[i], &part->mail) == 0)
		return;
	part->back = true;
	part->err =
		-ETIMEDOUT; /* it has not even taken what was asked before */
	q->under_way--;
}

int inquiry_ask(struct inquirer *in, const struct inquiry_kind *kind,
		uint32_t only, const void *args, size_t args_bytes,
		inquiry_done done, void *arg)
{
	const struct timeval tv = { INQUIRY_TIMEOUT_MS / 1000,
				    INQUIRY_TIMEOUT_MS % 1000 * 1000 };
	struct inquiry *q =
		calloc(1, sizeof(*q) + in->n_workers * sizeof(q->parts[0]));

	assert(args_bytes <= INQUIRY_ARGS_MAX);
	if (!q)
		return -ENOMEM;
	*q = (struct inquiry){
		.in = in, .kind = kind, .done = done, .arg = arg
	};
	memcpy(q->args, args, args_bytes);
	q->timer = evtimer_new(in->base, inquiry_on_timeout, q);
	if (!q->timer || evtimer_add(q->timer, &tv) < 0) {
		if (q->timer)
			event_free(q->timer);
		free(q);
		return -ENOMEM;
	}
	q->next = in->pending;
	in->pending = q;
	in->n_pending++;
	for (uint32_t i = 0; i < in->n_workers; i++) {
		q->parts[i].inquiry = q;
		q->parts[i].back = only != INQUIRY_ALL && only != i;
		q->parts[i].err = q->parts[i].back ? -EAGAIN : 0;
	}
	/* Nobody was asked when all are too far behind: the timer answers. */
	for (uint32_t i = 0; i < in->n_workers; i++)
		if (!q->parts[i].back)
			inquiry_send(q, i);
	return 0;
}

void inquirer_cancel(struct inquirer *in)
{
	struct inquiry *q, *next;

	for (q = in->pending; q; q = next) {
		next = q->next;
		inquiry_finish(q);
		if (q->under_way == 0)
			inquiry_free(q);
	}
}
