/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os - a kernel in memory, for targets that have sockets: no system call, no
 * clock, and all that a socket can do (short reads and writes, EAGAIN, EPIPE)
 * at the target's word.
 *
 * The linker's --wrap turns calls of the code under test into __wrap_NAME()
 * here. Descriptors of this kernel are OS_FD_FIRST and up; calls on others, of
 * libFuzzer for one, go through.
 *
 *	bytes of the target --os_feed()--> rx ---read()---> code under test
 *	target <--os_written()-- tx (at most `room`) <--write()--'
 *
 * Two event loops are there: epoll, for libxtcp, and libevent's event_*()
 * as the daemon's streams use it (os_run_events()).
 */
#ifndef XTCP_TESTS_FUZZ_OS_H
#define XTCP_TESTS_FUZZ_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OS_FD_FIRST 600
#define OS_FDS_MAX 48
#define OS_BYTES_MAX 65536u /* per socket and direction */

/* Everything closed and forgotten; time is now_ms. */
void os_reset(uint64_t now_ms);

/* Checks that nothing is open any more. */
void os_check_closed(void);

extern uint64_t os_now_ms;

/* A connected socket; or -1 when there are too many. */
int os_socket_new(void);

/* Is it an open socket? */
bool os_is_open(int fd);

/* The n-th open socket that was dialled or accepted, or -1. */
int os_nth_socket(unsigned n);

/* Bytes that can be read from fd; what doesn't fit is cut off. */
void os_feed(int fd, const void *bytes, size_t n);

/* After the bytes: the end (0), or an error (positive errno). */
void os_hang_up(int fd, int err);

/* The peer is gone: writing fails with err (0: as before). */
void os_break(int fd, int err);

/* At most so many written bytes wait for os_written(). */
void os_set_room(int fd, size_t bytes);

/* Each read gives at most so many bytes (0: as many as asked for). */
void os_set_chunk(int fd, size_t bytes);

/* What was written to fd, and is taken from it. Valid until the next write. */
size_t os_written(int fd, const uint8_t **ret_bytes);

/* The result of the next connect(): 0, or a positive errno (EINPROGRESS). */
void os_set_connect(int err);

/* A client dials the listening socket; returns our end, or -1. */
int os_dial(void);

/* Closes the one that was dialled and not accepted, if any. */
void os_undial(void);

/* Called when epoll_wait() would sleep; false: time passes instead. */
extern bool (*os_on_idle)(void);

/* One pass over the events that are ready. Returns how many there were. */
unsigned os_run_events(void);

#endif
