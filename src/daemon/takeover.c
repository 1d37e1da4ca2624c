/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover - what one xtcpd leaves behind and the next one finds.
 *
 * Theory of operation
 *
 * The arena is looked for in the descriptor store, then as state-dir/arena.
 * arena_adopt() and arena_audit() have the last word; one that they refuse is
 * set aside as arena.old, never deleted, and a new one is made. One that they
 * don't keeps its sizes and its number of workers, whatever the configuration
 * says now; but an empty one of other sizes makes room. The lock on the state
 * directory, which comes before, sees to it that one process has an arena at
 * a time.
 *
 * How we end decides what stays (enum daemon_end):
 *
 *	                          arena      device, routes     blackholes
 *	                                     diverted ports     guarded ports
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

#include "arena/recover.h"
#include "base/bytes.h"
#include "base/log.h"
#include "daemon/neigh_proxy.h"
#include "daemon/ownport.h"
#include "daemon/supervise.h"
#include "daemon/tun.h"
#include "daemon/tun_steer.h"

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

static struct arena_sizes takeover_sizes(const struct daemon *d)
{
	return (struct arena_sizes){
		.workers = d->conf->workers,
		.max_connections = d->conf->max_connections,
		.rx_bytes = 2 * registry_own_bytes_max(d->conf),
		.tx_bytes = d->conf->transmit_buffer_bytes,
	};
}

/* The connections that are there keep the arena that they are in. */
static void takeover_keep_sizes(struct daemon *d)
{
	static const struct {
		unsigned int bit;
		const char *key;
	} keys[] = {
		{ ARENA_DIFFERS_WORKERS, "workers" },
		{ ARENA_DIFFERS_CONNECTIONS, "max-connections" },
		{ ARENA_DIFFERS_RX, "receive-buffer" },
		{ ARENA_DIFFERS_TX, "transmit-buffer" },
	};
	const struct arena_sizes sizes = takeover_sizes(d);
	unsigned int differs = arena_compare(&d->arena, &sizes);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (differs & keys[i].bit)
			log_warn(
				"%s: not as configured, but as the connections that were taken "
				"over have it; the new value takes a stop and a start, which "
				"ends them",
				keys[i].key);
	d->conf->workers = d->arena.header->workers;
}

/* One without connections need not be kept when another one is wanted. */
static bool takeover_is_wanted(const struct daemon *d,
			       const struct arena_audit *audit)
{
	const struct arena_sizes sizes = takeover_sizes(d);

	return audit->records > 0 || arena_compare(&d->arena, &sizes) == 0;
}

/*
 * Takes fd on success. -ENOENT: the arena is sound, but empty and of other
 * sizes than are wanted now.
 */
static int takeover_adopt(struct daemon *d, int fd, const char *name)
{
	struct arena_audit audit = { 0 };
	const char *why = NULL;
	int err = arena_adopt(&d->arena, fd, &why);

	if (err == 0) {
		why = "too many of them are damaged";
		err = arena_audit(&d->arena, &audit);
		if (err == 0 && !takeover_is_wanted(d, &audit))
			err = -ENOENT;
	}
	if (err == 0) {
		d->adopted = true;
		takeover_keep_sizes(d);
		return 0;
	}
	if (err != -ENOENT)
		log_warn(
			"%s: its connections cannot be taken over: %s; their clients are "
			"reset when they send",
			name, why ? why : strerror(-err));
	d->arena.fd = -1; /* still the caller's */
	arena_close(&d->arena);
	return err;
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

/* The file goes, as a new one takes its place. */
static int takeover_make_room(struct daemon *d, const char *path, int why)
{
	if (why != -ENOENT)
		return takeover_set_aside(d, path);
	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	log_error("%s: %s", path, strerror(errno));
	return -errno;
}

/* -ENOENT: there is none, or none that was taken over. */
static int takeover_from_store(struct daemon *d, const char *path)
{
	int fd = fdstore_take(d->store, FDSTORE_ARENA);
	int why, err = 0;

	if (fd < 0)
		return -ENOENT;
	why = takeover_adopt(d, fd, "the arena in the descriptor store");
	if (why == 0)
		return takeover_is_file(fd, path) ? 0
						  : takeover_set_aside(d, path);
	fdstore_remove(FDSTORE_ARENA);
	if (takeover_is_file(fd, path))
		err = takeover_make_room(d, path, why);
	close(fd);
	return err < 0 ? err : -ENOENT;
}

/* As takeover_from_store(). */
static int takeover_from_file(struct daemon *d, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int why = -errno, err;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0) {
		log_warn("%s: %s", path, strerror(errno));
	} else {
		why = takeover_adopt(d, fd, path);
		if (why == 0)
			return 0;
		close(fd);
	}
	err = takeover_make_room(d, path, why);
	return err < 0 ? err : -ENOENT;
}

static int takeover_create(struct daemon *d, const char *path)
{
	const struct arena_sizes sizes = takeover_sizes(d);
	int err = arena_create(&d->arena, path, &sizes);

	if (err < 0)
		log_error("%s: %s", path, strerror(-err));
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

/* A device that was taken over may have an earlier process's program. */
static void takeover_steer(struct daemon *d)
{
	const struct arena_header *header = d->arena.header;
	int fd = tun_queue(d->tun, 0);

	if (header->workers > 1 && d->conf->tun.steering == CONF_STEERING_AUTO)
		d->steered = tun_steer_on(fd, d->conf->tun.name, header) == 0;
	else
		tun_steer_off(fd);
}

int daemon_tun_init(struct daemon *d)
{
	int err = tun_open(&d->tun, &d->conf->tun, d->arena.header->workers,
			   d->kept ? d->store : NULL);

	if (!err)
		takeover_steer(d);
	return err;
}

void daemon_tun_fini(struct daemon *d)
{
	if (d->steered && d->end != DAEMON_END_KEEP)
		tun_steer_off(tun_queue(d->tun, 0));
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

int daemon_ownport_init(struct daemon *d)
{
	return ownport_open(&d->ownport, d->conf, d->tun,
			    d->kept ? d->store : NULL);
}

void daemon_ownport_fini(struct daemon *d)
{
	switch (d->end) {
	case DAEMON_END_KEEP:
		ownport_keep(d->ownport);
		break;
	case DAEMON_END_LEAVE:
		ownport_leave(d->ownport);
		break;
	case DAEMON_END_FINAL:
		ownport_close(d->ownport);
		break;
	}
}

int daemon_proxy_init(struct daemon *d)
{
	return neigh_proxy_open(&d->neigh_proxy, &d->conf->tun);
}

void daemon_proxy_fini(struct daemon *d)
{
	if (d->end == DAEMON_END_LEAVE)
		neigh_proxy_leave(d->neigh_proxy);
	else
		neigh_proxy_close(d->neigh_proxy);
}

/* --- the end ----------------------------------------------------------- */

void daemon_settle(struct daemon *d)
{
	fdstore_drop_unclaimed(d->store);
	tun_settle(d->tun);
	ownport_settle(d->ownport);
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
