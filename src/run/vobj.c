/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/vobj.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>

#include "base/bytes.h"
#include "run/listener.h"
#include "run/stream.h"
#include "run/wait.h"

struct vobj *vobj_table[VOBJ_FD_MAX];

/* One above the highest descriptor that ever referred to something. */
static int vobj_end;

static struct vobj vobj_hidden = { .kind = VOBJ_HIDDEN };

static pthread_mutex_t vobj_lock = PTHREAD_MUTEX_INITIALIZER;

/* Of the thread that has the lock: it can't be cancelled meanwhile. */
static int vobj_cancelstate;

/* Of this thread: it has the lock, or is about to. */
static _Thread_local volatile sig_atomic_t vobj_locked;

bool run_is_locked(void)
{
	return vobj_locked;
}

void run_lock(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	vobj_locked = 1;
	pthread_mutex_lock(&vobj_lock);
	vobj_cancelstate = state;
}

void run_unlock(void)
{
	int state = vobj_cancelstate;

	pthread_mutex_unlock(&vobj_lock);
	vobj_locked = 0;
	pthread_setcancelstate(state, NULL);
}

struct vobj *vobj_enter(int fd)
{
	struct vobj *o;

	if (!vobj_get(fd))
		return NULL;
	run_lock();
	o = vobj_get(fd);
	if (!o)
		run_unlock();
	return o;
}

struct vobj *vobj_enter_kind(int fd, enum vobj_kind kind)
{
	struct vobj *o = vobj_enter(fd);

	if (o && o->kind != kind) {
		run_unlock();
		return NULL;
	}
	return o;
}

static void vobj_store(int fd, struct vobj *o)
{
	int end = __atomic_load_n(&vobj_end, __ATOMIC_RELAXED);

	while (fd >= end &&
	       !__atomic_compare_exchange_n(&vobj_end, &end, fd + 1, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	__atomic_store_n(&vobj_table[fd], o, __ATOMIC_RELEASE);
}

static void vobj_free_if_unused(struct vobj *o)
{
	if (o->fds == 0 && o->holds == 0)
		o->free(o);
}

void vobj_set(int fd, struct vobj *o)
{
	assert(fd >= 0 && fd < VOBJ_FD_MAX);
	o->fds++;
	vobj_clear(fd);
	vobj_store(fd, o);
}

void vobj_clear(int fd)
{
	struct vobj *o = vobj_get(fd);

	if (!o)
		return;
	vobj_store(fd, NULL);
	if (o->kind == VOBJ_HIDDEN)
		return;
	assert(o->fds > 0);
	if (--o->fds > 0)
		return;
	interest_drop_source(&o->source);
	o->on_close(o);
	wait_changed(o); /* calls that wait for it end */
	vobj_free_if_unused(o);
}

void vobj_hold(struct vobj *o)
{
	o->holds++;
}

void vobj_release(struct vobj *o)
{
	assert(o->holds > 0);
	o->holds--;
	vobj_free_if_unused(o);
}

void vobj_changed(struct vobj *o)
{
	interest_changed(&o->source);
	wait_changed(o);
}

uint32_t vobj_events(const struct vobj *o)
{
	switch (o->kind) {
	case VOBJ_LISTENER:
		return listener_events(o);
	case VOBJ_CONN:
		return stream_events(o);
	default:
		return 0;
	}
}

uint32_t vobj_source_events(struct interest_source *source)
{
	return vobj_events(container_of(source, struct vobj, source));
}

void vobj_hide(int fd)
{
	if (fd >= 0 && fd < VOBJ_FD_MAX)
		vobj_store(fd, &vobj_hidden);
}

void vobj_unhide(int fd)
{
	if (vobj_get(fd) == &vobj_hidden)
		vobj_store(fd, NULL);
}

int vobj_next(int first, int last)
{
	int end = __atomic_load_n(&vobj_end, __ATOMIC_RELAXED);

	for (int fd = first < 0 ? 0 : first; fd < end && fd <= last; fd++) {
		if (vobj_get(fd))
			return fd;
	}
	return -1;
}
