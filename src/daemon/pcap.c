/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"

/* draft-ietf-opsawg-pcap: the magic says nanoseconds and the byte order. */
#define PCAP_MAGIC_NSEC 0xa1b23c4du
#define PCAP_LINKTYPE_RAW 101u
#define PCAP_SNAPLEN 262144u

struct pcap_file_header {
	uint32_t magic;
	uint16_t version_major, version_minor;
	uint32_t reserved[2];
	uint32_t snaplen;
	uint32_t linktype;
};
ASSERT_SIZE(struct pcap_file_header, 24);

struct pcap_packet_header {
	uint32_t sec, nsec;
	uint32_t captured_bytes, original_bytes;
};
ASSERT_SIZE(struct pcap_packet_header, 16);

struct pcap {
	int fd; /* -1: gave up */
	size_t used;
	char path[PATH_MAX];
	uint8_t buf[PCAP_BUFFER_BYTES];
};

static void pcap_give_up(struct pcap *p, int err)
{
	log_warn("%s: %s: writing no further packets to it", p->path,
		 strerror(err));
	close(p->fd);
	p->fd = -1;
	p->used = 0;
}

void pcap_flush(struct pcap *p)
{
	size_t done = 0;
	ssize_t n;

	while (p->fd >= 0 && done < p->used) {
		n = write(p->fd, p->buf + done, p->used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			pcap_give_up(p, errno);
			return;
		}
		done += (size_t)n;
	}
	p->used = 0;
}

static void pcap_put(struct pcap *p, const void *data, size_t n)
{
	memcpy(p->buf + p->used, data, n);
	p->used += n;
}

/*
 * A file that holds what clients say: ours alone, whatever was there before.
 * (A pipe or a terminal does as well.)
 */
static int pcap_create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		return fd;
	else if (st.st_uid != geteuid())
		err = -EPERM;
	else if (fchmod(fd, 0600) < 0 || ftruncate(fd, 0) < 0)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int pcap_open(struct pcap **ret_pcap, const char *path, uint32_t worker)
{
	const struct pcap_file_header header = {
		.magic = PCAP_MAGIC_NSEC,
		.version_major = 2,
		.version_minor = 4,
		.snaplen = PCAP_SNAPLEN,
		.linktype = PCAP_LINKTYPE_RAW,
	};
	struct pcap *p = calloc(1, sizeof(*p));
	int err, n;

	if (!p)
		return -ENOMEM;
	n = worker == 0
		    ? snprintf(p->path, sizeof(p->path), "%s", path)
		    : snprintf(p->path, sizeof(p->path), "%s.%u", path, worker);
	if (n < 0 || (size_t)n >= sizeof(p->path)) {
		free(p);
		return -ENAMETOOLONG;
	}
	p->fd = pcap_create(p->path);
	if (p->fd < 0) {
		err = p->fd;
		free(p);
		return err;
	}
	pcap_put(p, &header, sizeof(header));
	*ret_pcap = p;
	return 0;
}

void pcap_write(struct pcap *p, const struct iovec *iov, int iovcnt,
		uint64_t now_ns)
{
	struct pcap_packet_header header = {
		.sec = (uint32_t)(now_ns / NSEC_PER_SEC),
		.nsec = (uint32_t)(now_ns % NSEC_PER_SEC),
	};
	size_t len = 0, left, n;

	if (p->fd < 0)
		return;
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	/* a packet fits the buffer: IP ends at 64 KiB, more would be cut */
	left = min_size(len, PCAP_BUFFER_BYTES - sizeof(header));
	header.original_bytes = (uint32_t)len;
	header.captured_bytes = (uint32_t)left;
	if (p->used + sizeof(header) + left > PCAP_BUFFER_BYTES)
		pcap_flush(p);
	pcap_put(p, &header, sizeof(header));
	for (int i = 0; i < iovcnt && left > 0; i++) {
		n = min_size(iov[i].iov_len, left);
		pcap_put(p, iov[i].iov_base, n);
		left -= n;
	}
}

void pcap_close(struct pcap *p)
{
	if (!p)
		return;
	pcap_flush(p);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}
