/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fuzz/fuzz.h"
#include "fuzz/os_file.h"

uint64_t os_now_ms;

struct os_file os_files[OS_FDS_MAX];
static uint8_t os_rx[OS_FDS_MAX][OS_BYTES_MAX];
static uint8_t os_tx[OS_FDS_MAX][OS_BYTES_MAX];
int os_n_files;
static int next_connect, dialled;

struct os_file *os_file(int fd)
{
	int i = fd - OS_FD_FIRST;

	if (i < 0 || i >= OS_FDS_MAX || os_files[i].kind == OS_FREE)
		return NULL;
	return &os_files[i];
}

static bool os_is_ours(int fd)
{
	return fd >= OS_FD_FIRST;
}

int os_fail(int err)
{
	errno = err;
	return -1;
}

int os_open(enum os_kind kind)
{
	for (int i = 0; i < OS_FDS_MAX; i++) {
		if (os_files[i].kind != OS_FREE)
			continue;
		os_files[i] = (struct os_file){ .kind = kind,
						.room = OS_BYTES_MAX,
						.rx_end = -1 };
		os_n_files = i >= os_n_files ? i + 1 : os_n_files;
		return OS_FD_FIRST + i;
	}
	return os_fail(EMFILE);
}

void os_reset(uint64_t now_ms)
{
	memset(os_files, 0, sizeof(os_files[0]) * (size_t)os_n_files);
	os_n_files = 0;
	os_now_ms = now_ms;
	next_connect = dialled = 0;
}

void os_check_closed(void)
{
	for (int i = 0; i < os_n_files; i++)
		FUZZ_CHECK(os_files[i].kind == OS_FREE,
			   "descriptor %d, kind %d", i, (int)os_files[i].kind);
	FUZZ_CHECK(!os_has_event(-1));
}

/* --- the target's side ------------------------------------------------- */

int os_socket_new(void)
{
	return os_open(OS_SOCKET);
}

bool os_is_open(int fd)
{
	const struct os_file *f = os_file(fd);

	return f && f->kind == OS_SOCKET;
}

int os_nth_socket(unsigned n)
{
	for (int i = 0; i < os_n_files; i++)
		if (os_files[i].kind == OS_SOCKET && n-- == 0)
			return OS_FD_FIRST + i;
	return -1;
}

void os_feed(int fd, const void *bytes, size_t n)
{
	struct os_file *f = os_file(fd);
	uint8_t *rx;

	if (!f || f->rx_end >= 0)
		return;
	rx = os_rx[f - os_files];
	if (f->rx_at) {
		memmove(rx, rx + f->rx_at, f->rx_len);
		f->rx_at = 0;
	}
	if (n > OS_BYTES_MAX - f->rx_len)
		n = OS_BYTES_MAX - f->rx_len;
	if (n)
		memcpy(rx + f->rx_len, bytes, n);
	f->rx_len += n;
}

void os_hang_up(int fd, int err)
{
	struct os_file *f = os_file(fd);

	if (f)
		f->rx_end = err;
}

void os_break(int fd, int err)
{
	struct os_file *f = os_file(fd);

	if (f)
		f->tx_err = err;
}

void os_set_room(int fd, size_t bytes)
{
	struct os_file *f = os_file(fd);

	if (f)
		f->room = bytes < OS_BYTES_MAX ? bytes : OS_BYTES_MAX;
}

void os_set_chunk(int fd, size_t bytes)
{
	struct os_file *f = os_file(fd);

	if (f)
		f->chunk = bytes;
}

size_t os_written(int fd, const uint8_t **ret_bytes)
{
	struct os_file *f = os_file(fd);
	size_t n = f ? f->tx_len : 0;

	if (!f)
		return 0;
	*ret_bytes = os_tx[f - os_files];
	f->tx_len = 0;
	return n;
}

void os_set_connect(int err)
{
	next_connect = err;
}

int os_dial(void)
{
	for (int i = 0; i < os_n_files; i++) {
		if (os_files[i].kind != OS_LISTEN || dialled)
			continue;
		dialled = os_open(OS_SOCKET);
		if (dialled < 0)
			dialled = 0;
		return dialled ? dialled : -1;
	}
	return -1;
}

void os_undial(void)
{
	struct os_file *f = os_file(dialled);

	if (f)
		f->kind = OS_FREE;
	dialled = 0;
}

/* --- what is ready ----------------------------------------------------- */

bool os_readable(const struct os_file *f)
{
	switch (f->kind) {
	case OS_SOCKET:
		return !f->connecting && (f->rx_len || f->rx_end >= 0);
	case OS_LISTEN:
		return dialled;
	case OS_EVENTFD:
		return f->count;
	case OS_TIMER:
		return f->count && f->count <= os_now_ms;
	default:
		return false;
	}
}

bool os_writable(const struct os_file *f)
{
	return f->kind == OS_SOCKET && (f->tx_err || f->tx_len < f->room);
}

/* --- files ------------------------------------------------------------- */

int __real_open(const char *path, int flags, mode_t mode);
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_write(int fd, const void *buf, size_t n);
int __real_close(int fd);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t n, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
int __wrap_close(int fd);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_listen(int fd, int backlog);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_setsockopt(int fd, int level, int name, const void *value,
		      socklen_t len);
int __wrap_unlink(const char *path);
ssize_t __wrap_getrandom(void *buf, size_t n, unsigned int flags);
uint64_t __wrap_group_now_ms(void);

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	if (strcmp(path, "/dev/null") == 0)
		return os_open(OS_NULL);
	va_start(ap, flags);
	mode = flags & O_CREAT ? (mode_t)va_arg(ap, int) : 0;
	va_end(ap);
	return __real_open(path, flags, mode);
}

static ssize_t os_read_socket(struct os_file *f, void *buf, size_t n)
{
	if (!f->rx_len) {
		if (f->rx_end > 0)
			return os_fail(f->rx_end);
		return f->rx_end == 0 ? 0 : os_fail(EAGAIN);
	}
	if (f->chunk && n > f->chunk)
		n = f->chunk;
	if (n > f->rx_len)
		n = f->rx_len;
	memcpy(buf, os_rx[f - os_files] + f->rx_at, n);
	f->rx_at += n;
	f->rx_len -= n;
	return (ssize_t)n;
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
	struct os_file *f = os_file(fd);
	uint64_t one = 1;

	if (!os_is_ours(fd))
		return __real_read(fd, buf, n);
	FUZZ_CHECK(f, "read from closed descriptor %d", fd);
	if (f->kind == OS_SOCKET)
		return os_read_socket(f, buf, n);
	if (!os_readable(f))
		return os_fail(EAGAIN);
	memcpy(buf, f->kind == OS_EVENTFD ? &f->count : &one, sizeof(one));
	f->count = 0;
	return sizeof(one);
}

ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags)
{
	(void)flags;
	return __wrap_read(fd, buf, n);
}

static ssize_t os_write_socket(struct os_file *f, const void *buf, size_t n)
{
	if (f->tx_err)
		return os_fail(f->tx_err);
	if (f->tx_len >= f->room)
		return n ? os_fail(EAGAIN) : 0;
	if (n > f->room - f->tx_len)
		n = f->room - f->tx_len;
	if (n)
		memcpy(os_tx[f - os_files] + f->tx_len, buf, n);
	f->tx_len += n;
	return (ssize_t)n;
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	struct os_file *f = os_file(fd);

	if (!os_is_ours(fd))
		return __real_write(fd, buf, n);
	FUZZ_CHECK(f, "write to closed descriptor %d", fd);
	if (f->kind == OS_SOCKET)
		return os_write_socket(f, buf, n);
	FUZZ_CHECK(f->kind == OS_EVENTFD && n == sizeof(f->count));
	f->count++;
	return (ssize_t)n;
}

ssize_t __wrap_send(int fd, const void *buf, size_t n, int flags)
{
	(void)flags;
	return __wrap_write(fd, buf, n);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t sum = 0, n;

	(void)flags;
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		n = __wrap_write(fd, msg->msg_iov[i].iov_base,
				 msg->msg_iov[i].iov_len);
		if (n < 0)
			return sum ? sum : n;
		sum += n;
		if ((size_t)n < msg->msg_iov[i].iov_len)
			break;
	}
	return sum;
}

int __wrap_close(int fd)
{
	struct os_file *f = os_file(fd);

	if (!os_is_ours(fd))
		return __real_close(fd);
	FUZZ_CHECK(f, "descriptor %d closed twice", fd);
	FUZZ_CHECK(!os_has_event(fd), "closed under an event");
	f->kind = OS_FREE;
	return 0;
}

/* --- sockets ----------------------------------------------------------- */

int __wrap_socket(int domain, int type, int protocol)
{
	(void)domain;
	(void)type;
	(void)protocol;
	return os_open(OS_SOCKET);
}

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct os_file *f = os_file(fd);
	int err = next_connect;

	(void)sa;
	(void)len;
	FUZZ_CHECK(f && f->kind == OS_SOCKET);
	next_connect = 0;
	f->connecting = err == EINPROGRESS;
	return err ? os_fail(err) : 0;
}

int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	(void)sa;
	(void)len;
	FUZZ_CHECK(os_file(fd));
	return 0;
}

int __wrap_listen(int fd, int backlog)
{
	struct os_file *f = os_file(fd);

	(void)backlog;
	FUZZ_CHECK(f);
	f->kind = OS_LISTEN;
	return 0;
}

int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	int new = dialled;

	(void)sa;
	(void)len;
	(void)flags;
	FUZZ_CHECK(os_file(fd));
	dialled = 0;
	return new ? new : os_fail(EAGAIN);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct os_file *f = os_file(fd);

	(void)level;
	FUZZ_CHECK(f && *len == sizeof(int));
	if (name == SO_DOMAIN) {
		memcpy(value, &(int){ AF_UNIX }, sizeof(int));
		return 0;
	}
	FUZZ_CHECK(name == SO_ERROR);
	f->connecting = false;
	memcpy(value, &f->connect_err, sizeof(int));
	return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value,
		      socklen_t len)
{
	(void)level;
	(void)name;
	(void)value;
	(void)len;
	FUZZ_CHECK(os_file(fd));
	return 0;
}

int __wrap_unlink(const char *path)
{
	(void)path;
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t n, unsigned int flags)
{
	(void)flags;
	memset(buf, 0x5a, n);
	return (ssize_t)n;
}

uint64_t __wrap_group_now_ms(void)
{
	return os_now_ms;
}
