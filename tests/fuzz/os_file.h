/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os_file - what os.c and os_events.c share: the table of open files.
 */
#ifndef XTCP_TESTS_FUZZ_OS_FILE_H
#define XTCP_TESTS_FUZZ_OS_FILE_H

#include <sys/epoll.h>

#include "fuzz/os.h"

enum os_kind {
	OS_FREE,
	OS_SOCKET,
	OS_LISTEN,
	OS_EPOLL,
	OS_EVENTFD,
	OS_TIMER,
	OS_NULL, /* /dev/null */
};

struct os_file {
	enum os_kind kind;
	size_t rx_at, rx_len, tx_len, room, chunk;
	int rx_end; /* -1: open; else what read() says after the bytes */
	int tx_err;
	int connect_err;
	bool connecting;
	uint64_t count; /* of an eventfd; when a timer is due, 0: never */
	/* in which epoll it is watched, 0: none */
	int watcher;
	struct epoll_event watch;
};

extern struct os_file os_files[OS_FDS_MAX];
extern int os_n_files; /* highest ever used, + 1 */

/* The file, or NULL when it is not open. */
struct os_file *os_file(int fd);
int os_open(enum os_kind kind);
/* Sets errno; returns -1. */
int os_fail(int err);

bool os_readable(const struct os_file *f);
bool os_writable(const struct os_file *f);

/* Is an event waiting for it, or (fd -1) any event there at all? */
bool os_has_event(int fd);

#endif
