/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover - what one xtcpd leaves behind and the next one finds.
 *
 * Theory of operation
 *
 * The arena is looked for in the descriptor store, then as state-dir/arena.
 * arena_adopt() has the last word; one that it refuses is set aside as
 * arena.old, never deleted, and a new one is made. The lock on the state
 * directory, which comes before, sees to it that one process has an arena at
 * a time.
 *
 * How we end decides what stays (enum daemon_end):
 *
 *	                          arena      device, routes     blackholes
 *	KEEP   a store has all    stays      stay               none
 *	LEAVE  killed, or failed  stays      go                 stay
 *	FINAL  nobody goes on     goes       go                 go
 *
 *	SIGTERM, SIGINT without a store            FINAL
 *	SIGTERM, SIGINT under systemd              KEEP: systemd knows whether this
 *	                                           is a restart, and drops all if not
 *	SIGTERM from xtcpd --supervise             KEEP
 *	SIGINT from it                             FINAL
 *	SIGTERM because xtcpd --supervise died     LEAVE
 *	a failure, with a store                    KEEP
 *	a failure without                          LEAVE when the arena has served,
 *	                                           FINAL when it is new
 *
 * So a start that fails loses nothing that an earlier process left.
 */
#include "daemon/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/supervise.h"
#include "daemon/tun.h"

void daemon_path(const struct daemon *d, const char *name,
		 char ret_path[DAEMON_PATH_MAX])
{
	snprintf(ret_path, DAEMON_PATH_MAX, "%s/%s", d->conf->state_dir, name);
}

/* --- the store --------------------------------------------------------- */

int daemon_store_init(struct daemon *d)
{
	d->kept = fdstore_offered();
	d->end = d->kept ? DAEMON_END_KEEP : DAEMON_END_FINAL;
	return fdstore_open(&d->store);
}

void daemon_store_fini(struct daemon *d)
{
	fdstore_close(d->store);
}

/* --- the arena --------------------------------------------------------- */

static bool takeover_is_file(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* As many workers as it was made for, whatever the configuration says now. */
static void takeover_workers(struct daemon *d)
{
	uint32_t n = d->arena.header->workers;

	if (n != d->conf->workers)
		log_warn(
			"workers: %u, as the connections that are there were made for; %u "
			"takes effect after a stop and a start",
			n, d->conf->workers);
	d->conf->workers = n;
}

/* Takes fd on success. */
static int takeover_adopt(struct daemon *d, int fd, const char *name)
{
	const char *why = NULL;
	int err = arena_adopt(&d->arena, fd, &why);

	if (err < 0) {
		log_warn(
			"%s: its connections cannot be taken over: %s; their clients are "
			"reset when they send",
			name, why ? why : strerror(-err));
		return err;
	}
	d->adopted = true;
	takeover_workers(d);
	return 0;
}

/* Never deleted: somebody may want to know what went wrong. */
static int takeover_set_aside(struct daemon *d, const char *path)
{
	char old[DAEMON_PATH_MAX];

	daemon_path(d, "arena.old", old);
	if (rename(path, old) == 0) {
		log_warn("%s is set aside as %s", path, old);
		return 0;
	}
	if (errno == ENOENT)
		return 0;
	log_error("%s: cannot be set aside as %s: %s: move it away", path, old,
		  strerror(errno));
	return -errno;
}

/* -ENOENT: there is none, or none that could be taken over. */
static int takeover_from_store(struct daemon *d, const char *path)
{
	int fd = fdstore_take(d->store, FDSTORE_ARENA);
	int err = 0;

	if (fd < 0)
		return -ENOENT;
	if (takeover_adopt(d, fd, "the arena in the descriptor store") == 0)
		return takeover_is_file(fd, path) ? 0
						  : takeover_set_aside(d, path);
	fdstore_remove(FDSTORE_ARENA);
	if (takeover_is_file(fd, path))
		err = takeover_set_aside(d, path);
	close(fd);
	return err < 0 ? err : -ENOENT;
}

/* As takeover_from_store(). */
static int takeover_from_file(struct daemon *d, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int err;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		log_warn("%s: %s", path, strerror(errno));
	else if (takeover_adopt(d, fd, path) == 0)
		return 0;
	else
		close(fd);
	err = takeover_set_aside(d, path);
	return err < 0 ? err : -ENOENT;
}

static void takeover_vips(struct daemon *d)
{
	const struct conf_tun *tun = &d->conf->tun;

	for (uint32_t i = 0; i < tun->n_vips; i++) {
		d->arena.header->vips[i].family = tun->vips[i].family;
		memcpy(d->arena.header->vips[i].bytes, tun->vips[i].bytes, 16);
	}
}

static int takeover_create(struct daemon *d, const char *path)
{
	const struct arena_sizes sizes = {
		.workers = d->conf->workers,
		.max_connections = d->conf->max_connections,
		.rx_bytes = 2 * registry_own_bytes_max(d->conf),
		.tx_bytes = d->conf->transmit_buffer_bytes,
	};
	int err = arena_create(&d->arena, path, &sizes);

	if (err < 0)
		log_error("%s: %s", path, strerror(-err));
	else
		takeover_vips(d);
	return err;
}

int daemon_arena_init(struct daemon *d)
{
	char path[DAEMON_PATH_MAX];
	bool stored;
	int err;

	daemon_path(d, "arena", path);
	err = takeover_from_store(d, path);
	stored = d->adopted;
	if (err == -ENOENT)
		err = takeover_from_file(d, path);
	if (err == -ENOENT)
		err = takeover_create(d, path);
	if (err < 0) {
		arena_close(&d->arena);
		return err;
	}
	if (d->kept && !stored)
		(void)fdstore_put(FDSTORE_ARENA, d->arena.fd);
	if (d->adopted && !d->kept)
		d->end = DAEMON_END_LEAVE;
	return 0;
}

void daemon_arena_fini(struct daemon *d)
{
	char path[DAEMON_PATH_MAX];

	daemon_path(d, "arena", path);
	if (d->end == DAEMON_END_FINAL && takeover_is_file(d->arena.fd, path))
		unlink(path);
	arena_close(&d->arena);
}

/* --- the device -------------------------------------------------------- */

int daemon_tun_init(struct daemon *d)
{
	return tun_open(&d->tun, &d->conf->tun, d->arena.header->workers,
			d->kept ? d->store : NULL);
}

void daemon_tun_fini(struct daemon *d)
{
	switch (d->end) {
	case DAEMON_END_KEEP:
		tun_keep(d->tun);
		break;
	case DAEMON_END_LEAVE:
		tun_leave(d->tun);
		break;
	case DAEMON_END_FINAL:
		tun_close(d->tun);
		break;
	}
}

/* --- the end ----------------------------------------------------------- */

void daemon_settle(struct daemon *d)
{
	fdstore_drop_unclaimed(d->store);
	tun_settle(d->tun);
	if (!d->kept)
		d->end = DAEMON_END_LEAVE;
}

void daemon_ending(struct daemon *d, int sig)
{
	bool lost;

	if (!d->kept)
		d->end = DAEMON_END_FINAL;
	else if (!supervise_is_parent(&lost))
		d->end = DAEMON_END_KEEP;
	else if (lost)
		d->end = DAEMON_END_LEAVE;
	else if (sig == SIGINT)
		d->end = DAEMON_END_FINAL;
	if (d->end == DAEMON_END_LEAVE)
		log_warn(
			"xtcpd --supervise, which kept the device, has died: the connections "
			"wait in %s for the next start",
			d->conf->state_dir);
}
