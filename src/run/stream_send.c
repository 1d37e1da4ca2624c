/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_send - writing to a connection, and the half-close.
 *
 * A write goes to libxtcp as far as credit and the stream's room allow. What
 * of the request was read is acknowledged with the last byte that is taken.
 * Several small buffers become one frame by way of a bounce buffer.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/bytes.h"
#include "run/real.h"
#include "run/run.h"
#include "run/stream.h"
#include "run/wait.h"

/* Buffers that are smaller together are copied into one piece. */
#define STREAM_BOUNCE_BYTES (64u * 1024u)

/* Protected by the lock, like all. */
static char stream_bounce[STREAM_BOUNCE_BYTES];

/* Why nothing can be sent, or 0. */
static int stream_send_error(struct vconn *vc)
{
	int error;

	if (!vc->c)
		return -EBADF;
	if (vc->c->flags & CONN_F_RESET) {
		error = stream_error(vc);
		return error ? -error : -EPIPE;
	}
	return vc->flags & STREAM_SHUT_WRITE ? -EPIPE : 0;
}

/* One piece, with the acknowledgement if it is the last. Bytes taken. */
static size_t stream_send_piece(struct vconn *vc, const void *buf, size_t len,
				bool last)
{
	uint32_t ackd = last ? vc->taken : 0;
	ptrdiff_t n = direct_send(vc->port->g, vc->c, ackd, buf, len);

	hub_wrote(vc->port);
	if (n < 0)
		return 0; /* seen by stream_send_error() */
	vc->taken -= ackd;
	if ((size_t)n < len)
		vc->flags |= STREAM_FULL;
	return (size_t)n;
}

/* As much as goes now of the bytes from `skip` on. */
static size_t stream_send_now(struct vconn *vc, const struct iovec *iov, int n,
			      size_t skip)
{
	size_t done = 0;

	for (int i = 0; i < n; i++) {
		const char *base = iov[i].iov_base;
		size_t len = iov[i].iov_len, taken;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		taken = stream_send_piece(vc, base + skip, len - skip,
					  i == n - 1);
		done += taken;
		if (taken < len - skip)
			break;
		skip = 0;
	}
	return done;
}

/* The buffers in one piece, if they are small enough; else as they are. */
static int stream_gather(const struct iovec *iov, int n, size_t bytes,
			 struct iovec *ret_one)
{
	size_t at = 0;

	if (n < 2 || bytes > STREAM_BOUNCE_BYTES)
		return 0;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > 0)
			memcpy(stream_bounce + at, iov[i].iov_base,
			       iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*ret_one =
		(struct iovec){ .iov_base = stream_bounce, .iov_len = bytes };
	return 1;
}

static size_t stream_send_some(struct vconn *vc, const struct iovec *iov, int n,
			       size_t bytes, size_t skip)
{
	struct iovec one;

	if (stream_gather(iov, n, bytes, &one))
		return stream_send_now(vc, &one, 1, skip);
	return stream_send_now(vc, iov, n, skip);
}

static bool stream_send_blocks(const struct vconn *vc, int flags)
{
	return !(vc->flags & STREAM_NONBLOCK) && !(flags & MSG_DONTWAIT);
}

/* Waits until the connection takes bytes again. 0 or a negative errno. */
static int stream_send_wait(struct vconn *vc, int64_t *deadline_ns)
{
	int rc = 0;

	if (*deadline_ns == 0)
		*deadline_ns = run_deadline(vc->snd_timeout_ns);
	hub_flush();
	hub_pump();
	while (rc == 0 && vc->c && vc->flags & STREAM_FULL)
		rc = wait_for_object(&vc->obj, *deadline_ns);
	return rc;
}

ssize_t stream_write(struct vconn *vc, const struct iovec *iov, int n,
		     int flags, bool *ret_sigpipe)
{
	size_t bytes = 0, done = 0;
	int64_t deadline_ns = 0;
	int rc;

	*ret_sigpipe = false;
	for (int i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	bytes = min_size(bytes, SSIZE_MAX);
	vobj_hold(&vc->obj);
	for (;;) {
		rc = stream_send_error(vc);
		if (rc < 0 || done >= bytes)
			break;
		if (!(vc->flags & STREAM_FULL))
			done += stream_send_some(vc, iov, n, bytes, done);
		else
			hub_pump(); /* credit may have come */
		if (done >= bytes || !(vc->flags & STREAM_FULL))
			continue;
		rc = -EAGAIN;
		if (stream_send_blocks(vc, flags))
			rc = stream_send_wait(vc, &deadline_ns);
		if (rc < 0)
			break;
	}
	*ret_sigpipe = rc == -EPIPE && done == 0 && !(flags & MSG_NOSIGNAL);
	hub_flush_soon();
	vobj_release(&vc->obj);
	return done > 0 || rc == 0 ? (ssize_t)done : rc;
}

/* --- sendfile --- */

/*
 * Sends bytes of the file at `at`: at most what the connection takes is read.
 * Returns how many; 0 at the file's end; -EAGAIN: it takes none now.
 */
static ssize_t stream_send_file(struct vconn *vc, int in_fd, off_t at,
				size_t count)
{
	size_t room;
	ssize_t n;

	if (vc->flags & STREAM_FULL)
		hub_pump();
	if (!vc->c || vc->flags & STREAM_FULL)
		return -EAGAIN;
	room = vc->port->g->ops->room(vc->port->g, vc->c);
	if (room == 0) {
		vc->flags |= STREAM_FULL;
		return -EAGAIN;
	}
	n = pread(in_fd, stream_bounce,
		  min_size(min_size(room, count), sizeof(stream_bounce)), at);
	if (n <= 0)
		return run_result(n);
	n = (ssize_t)stream_send_piece(vc, stream_bounce, (size_t)n, true);
	return n > 0 ? n : -EAGAIN;
}

static ssize_t stream_send_file_all(struct vconn *vc, int in_fd, off_t *at,
				    size_t count)
{
	int64_t deadline_ns = 0;
	size_t done = 0;
	ssize_t rc = 0;

	while (done < count) {
		rc = stream_send_error(vc);
		if (rc < 0)
			break;
		rc = stream_send_file(vc, in_fd, *at, count - done);
		if (rc == -EAGAIN && stream_send_blocks(vc, 0)) {
			rc = stream_send_wait(vc, &deadline_ns);
			if (rc == 0)
				continue;
		}
		if (rc <= 0)
			break;
		*at += rc;
		done += (size_t)rc;
	}
	return done > 0 ? (ssize_t)done : rc;
}

ssize_t stream_sendfile(struct vconn *vc, int in_fd, off_t *offset,
			size_t count, bool *ret_sigpipe)
{
	off_t at = offset ? *offset : lseek(in_fd, 0, SEEK_CUR);
	ssize_t rc;

	*ret_sigpipe = false;
	if (at < 0)
		return offset ? -EINVAL : -errno;
	vobj_hold(&vc->obj);
	rc = stream_send_file_all(vc, in_fd, &at, min_size(count, INT_MAX));
	*ret_sigpipe = rc == -EPIPE;
	hub_flush_soon();
	vobj_release(&vc->obj);
	if (offset)
		*offset = at;
	else if (rc > 0)
		(void)lseek(in_fd, at, SEEK_SET);
	return rc;
}

/* --- shutdown --- */

int stream_shutdown(struct vconn *vc, int how)
{
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (!vc->c)
		return -EBADF;
	if (vc->c->flags & CONN_F_RESET)
		return -ENOTCONN;
	if (how != SHUT_WR)
		vc->flags |= STREAM_SHUT_READ;
	if (how != SHUT_RD && !(vc->flags & STREAM_SHUT_WRITE)) {
		vc->flags |= STREAM_SHUT_WRITE;
		(void)direct_shutdown(vc->port->g, vc->c);
		hub_wrote(vc->port);
		hub_flush_soon();
	}
	vobj_changed(&vc->obj);
	return 0;
}
