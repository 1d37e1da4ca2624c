/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_capture - from a capture's rings to its client.
 *
 * A timer looks at the rings every CONTROL_CAPTURE_TICK_US: workers wake nobody.
 * What the client has not read is bounded; when that is full, the rings fill,
 * and the workers drop and count.
 *
 * The end comes when the client closes its side, when it is gone, and with the
 * last packet or second that was asked for. Then what the rings hold is sent,
 * and CAPTURE_END with the counts.
 */
#include "daemon/control_capture.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/units.h"
#include "daemon/capture.h"
#include "daemon/clock.h"
#include "daemon/filter.h"

#define CONTROL_CAPTURE_TICK_US (10 * (suseconds_t)USEC_PER_MSEC)

/* --- arguments --------------------------------------------------------- */

/* [code, jt, jf, k]; numbers that fit. */
static bool control_take_insn(struct json_object *value,
			      struct filter_insn *ret_insn)
{
	static const int64_t max[4] = { UINT16_MAX, UINT8_MAX, UINT8_MAX,
					UINT32_MAX };
	int64_t n[4];

	if (!json_object_is_type(value, json_type_array) ||
	    json_object_array_length(value) != ARRAY_SIZE(n))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
		struct json_object *one = json_object_array_get_idx(value, i);

		n[i] = json_object_get_int64(one);
		if (!json_object_is_type(one, json_type_int) || n[i] < 0 ||
		    n[i] > max[i])
			return false;
	}
	*ret_insn = (struct filter_insn){ (uint16_t)n[0], (uint8_t)n[1],
					  (uint8_t)n[2], (uint32_t)n[3] };
	return true;
}

const char *control_capture_arg_filter(struct control_task *task,
				       struct json_object *value)
{
	size_t n;

	if (!json_object_is_type(value, json_type_array))
		return "must be a list of instructions [code, jt, jf, k]";
	n = json_object_array_length(value);
	if (n == 0 || n > CAPTURE_FILTER_MAX)
		return "must have 1 to 2048 instructions";
	free(task->filter);
	task->filter = calloc(n, sizeof(*task->filter));
	if (!task->filter)
		return "takes more memory than there is: try again";
	for (task->n_filter = 0; task->n_filter < n; task->n_filter++)
		if (!control_take_insn(
			    json_object_array_get_idx(value, task->n_filter),
			    &task->filter[task->n_filter]))
			return "must be a list of instructions [code, jt, jf, "
			       "k], numbers that fit their fields";
	return NULL;
}

/* A number from 1 to max. */
static bool control_take_number(struct json_object *value, uint32_t max,
				uint32_t *ret_n)
{
	int64_t n = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int) || n < 1 || n > max)
		return false;
	*ret_n = (uint32_t)n;
	return true;
}

const char *control_capture_arg_snaplen(struct control_task *task,
					struct json_object *value)
{
	return control_take_number(value, CAPTURE_SNAPLEN_MAX, &task->snaplen)
		       ? NULL
		       : "must be a number of bytes from 1 to 262144";
}

const char *control_capture_arg_count(struct control_task *task,
				      struct json_object *value)
{
	return control_take_number(value, UINT32_MAX, &task->count)
		       ? NULL
		       : "must be a number of packets from 1 to 4294967295";
}

const char *control_capture_arg_seconds(struct control_task *task,
					struct json_object *value)
{
	return control_take_number(value, CONTROL_CAPTURE_SECONDS_MAX,
				   &task->seconds)
		       ? NULL
		       : "must be a number of seconds from 1 to 604800";
}

/* --- captures ---------------------------------------------------------- */

struct control_capture {
	struct control_captures *all;
	struct control_capture *next;
	struct control_task *task;
	struct capture *capture;
	struct event *timer;
	uint64_t until_us; /* 0: no end */
	uint64_t left; /* packets */
	uint64_t delivered;
};

static void control_capture_free(struct control_capture *cc)
{
	struct control_captures *all = cc->all;
	struct control_capture **at = &all->list;
	struct capture_end end;

	while (*at != cc)
		at = &(*at)->next;
	*at = cc->next;
	all->n--;
	capture_count(cc->capture, &end);
	*all->dropped += end.dropped;
	capture_stop(cc->capture);
	capture_unref(cc->capture);
	event_free(cc->timer);
	free(cc);
}

/* One record; false without memory. */
static bool control_capture_record(struct evbuffer *out, enum capture_type type,
				   const void *fixed, size_t fixed_bytes,
				   const void *data, size_t data_bytes)
{
	const struct capture_head head = {
		.type = type,
		.bytes = (uint32_t)(fixed_bytes + data_bytes),
	};

	return evbuffer_add(out, &head, sizeof(head)) == 0 &&
	       evbuffer_add(out, fixed, fixed_bytes) == 0 &&
	       evbuffer_add(out, data, data_bytes) == 0;
}

/* Moves packets until so much is unread; false without memory. */
static bool control_capture_move(struct control_capture *cc,
				 struct evbuffer *out, size_t max)
{
	struct capture_item item;

	while (cc->left > 0 && evbuffer_get_length(out) < max &&
	       capture_peek(cc->capture, &item)) {
		if (!control_capture_record(out, CAPTURE_PACKET, &item.packet,
					    sizeof(item.packet), item.data,
					    item.bytes))
			return false;
		capture_take(&item);
		cc->left--;
		cc->delivered++;
	}
	return true;
}

/* The rest, and the end. */
static void control_capture_finish(struct control_capture *cc,
				   struct evbuffer *out,
				   enum capture_reason reason)
{
	struct control_task *task = cc->task;
	struct capture_end end = { .reason = reason };

	capture_stop(cc->capture);
	if (control_capture_move(cc, out, SIZE_MAX)) {
		capture_count(cc->capture, &end);
		end.delivered = cc->delivered;
		(void)control_capture_record(out, CAPTURE_END, &end,
					     sizeof(end), NULL, 0);
	}
	control_capture_free(cc);
	control_task_end(task);
}

static void control_capture_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct control_capture *cc = arg;
	struct control_task *task = cc->task;
	struct evbuffer *out = control_task_output(task);

	(void)fd;
	(void)what;
	if (!out ||
	    !control_capture_move(cc, out, CONTROL_CAPTURE_OUTPUT_BYTES)) {
		control_capture_free(cc);
		control_task_end(task);
	} else if (cc->left == 0) {
		control_capture_finish(cc, out, CAPTURE_COUNT);
	} else if (control_task_is_over(task)) {
		control_capture_finish(cc, out, CAPTURE_ASKED);
	} else if (cc->until_us && clock_now_us() >= cc->until_us) {
		control_capture_finish(cc, out, CAPTURE_SECONDS);
	}
}

static int control_capture_new(struct control_capture **ret_cc,
			       struct control_task *task, uint32_t workers)
{
	const struct timeval tick = { .tv_usec = CONTROL_CAPTURE_TICK_US };
	struct control_captures *all = task->captures;
	struct control_capture *cc = calloc(1, sizeof(*cc));
	uint32_t snaplen = task->snaplen ? task->snaplen : CAPTURE_SNAPLEN_MAX;

	if (!cc)
		return -ENOMEM;
	cc->timer = event_new(all->base, -1, EV_PERSIST,
			      control_capture_on_timer, cc);
	if (!cc->timer ||
	    capture_new(&cc->capture, workers, task->filter, snaplen) < 0) {
		if (cc->timer)
			event_free(cc->timer);
		free(cc);
		return -ENOMEM;
	}
	task->filter = NULL;
	cc->all = all;
	cc->task = task;
	cc->left = task->count ? task->count : UINT64_MAX;
	if (task->seconds)
		cc->until_us = clock_now_us() + task->seconds * USEC_PER_SEC;
	cc->next = all->list;
	all->list = cc;
	all->n++;
	(*all->started)++;
	event_add(cc->timer, &tick);
	*ret_cc = cc;
	return 0;
}

static struct json_object *
control_capture_result(const struct control_task *task, const struct capture *c)
{
	const struct conf *conf = task->view->conf(task->view->self);
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "device",
			       json_object_new_string(conf->tun.name));
	json_object_object_add(obj, "linktype",
			       json_object_new_int64(CAPTURE_LINKTYPE));
	json_object_object_add(obj, "snaplen",
			       json_object_new_int64(c->snaplen));
	return obj;
}

int control_capture_start(struct control_task *task)
{
	const struct workers_view *view = task->view;
	struct control_capture *cc;
	const char *bad = NULL;
	uint32_t at, silent;
	int err;

	if (task->filter)
		bad = filter_check(task->filter, task->n_filter, &at);
	if (bad) {
		control_task_fail(task, "capture: filter: instruction %u: %s",
				  at, bad);
		return 0;
	}
	if (!view->capture)
		return -EOPNOTSUPP;
	if (task->captures->n >= CAPTURES_MAX) {
		control_task_fail(task,
				  "capture: there are %u already: end one",
				  CAPTURES_MAX);
		return 0;
	}
	err = control_capture_new(&cc, task, view->arena(view->self)->workers);
	if (err < 0)
		return err;
	silent = view->capture(view->self, cc->capture);
	if (!control_task_begin(task, control_capture_result(task, cc->capture),
				silent ? "a worker is too far behind: its "
					 "packets are missing"
				       : NULL))
		control_capture_free(cc);
	return 0;
}

void control_captures_fini(struct control_captures *all)
{
	while (all->list) {
		struct control_task *task = all->list->task;

		control_capture_free(all->list);
		control_task_end(task);
	}
}
