/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/units.h"

#define TUN_NODE "/dev/net/tun"
/* The largest packet with its virtio header. */
#define TUN_PACKET_MAX (64 * KIB + 256)
#define TUN_BUFFER_BYTES (1 * MIB)
/* The virtio header ends, and the packet begins, at a multiple of 64. */
#define TUN_ALIGN 64u
#define TUN_VNET_BYTES sizeof(struct virtio_net_hdr)

/* Packets that wait for one sendmmsg(2). */
#define TUN_DIRECT_BATCH 64u
/* Headers, payload. */
#define TUN_PARTS 2

struct swarm_direct {
	int fd;
	uint32_t n;
	struct mmsghdr msgs[TUN_DIRECT_BATCH];
	struct iovec parts[TUN_DIRECT_BATCH][TUN_PARTS];
	struct swarm_headers headers[TUN_DIRECT_BATCH];
};

ASSERT_SIZE(struct virtio_net_hdr, 10); /* TUNGETVNETHDRSZ's default */
ASSERT_OFFSET(struct swarm_headers, bytes, sizeof(struct virtio_net_hdr));

int swarm_tun_attach(struct swarm_tun *tun, int fd, bool offload)
{
	*tun = (struct swarm_tun){ .fd = -1, .offload = offload };
	tun->buffer = aligned_alloc(TUN_ALIGN, TUN_BUFFER_BYTES);
	if (!tun->buffer)
		return -ENOMEM;
	tun->fd = fd;
	return 0;
}

int swarm_tun_open(struct swarm_tun *tun, const char *name, bool offload)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI |
						  IFF_TUN_EXCL) };
	int fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (offload)
		ifr.ifr_flags |= IFF_VNET_HDR;
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 ||
	    (offload && ioctl(fd, TUNSETOFFLOAD,
			      TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0))
		err = -errno;
	else
		err = swarm_tun_attach(tun, fd, offload);
	if (err < 0)
		close(fd);
	return err;
}

/* Is the device one whose packets have no link-layer header? */
static int swarm_tun_check_bare(int fd, int ifindex)
{
	struct ifreq ifr = { 0 };

	if (!if_indextoname((unsigned int)ifindex, ifr.ifr_name) ||
	    ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		return -errno;
	return ifr.ifr_hwaddr.sa_family == ARPHRD_NONE ? 0 : -EOPNOTSUPP;
}

int swarm_tun_go_direct(struct swarm_tun *tun, int ifindex)
{
	const struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		/* none: nothing comes in, and what goes out says itself */
		.sll_protocol = 0,
		.sll_ifindex = ifindex,
	};
	struct swarm_direct *d = calloc(1, sizeof(*d));
	int one = 1, rc;

	if (!d)
		return -ENOMEM;
	/* virtio headers are for SOCK_RAW */
	d->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = d->fd < 0 ? -errno : swarm_tun_check_bare(d->fd, ifindex);
	if (rc == 0 && tun->offload &&
	    setsockopt(d->fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) <
		    0)
		rc = -errno;
	if (rc == 0)
		rc = bind(d->fd, (const struct sockaddr *)&to, sizeof(to)) < 0
			     ? -errno
			     : 0;
	if (rc < 0) {
		if (d->fd >= 0)
			close(d->fd);
		free(d);
		return rc;
	}
	/* no PACKET_QDISC_BYPASS: that way nothing is cut into segments */
	tun->direct = d;
	return 0;
}

void swarm_tun_close(struct swarm_tun *tun)
{
	if (tun->direct)
		close(tun->direct->fd);
	free(tun->direct);
	tun->direct = NULL;
	if (tun->fd >= 0)
		close(tun->fd);
	tun->fd = -1;
	free(tun->buffer);
	tun->buffer = NULL;
}

/* Whether a frame of n bytes, read to p, has its header, if any. */
static bool swarm_tun_frame(struct swarm_tun *tun, const uint8_t *p, size_t n,
			    struct swarm_frame *ret_frame)
{
	size_t vnet = tun->offload ? TUN_VNET_BYTES : 0;

	if (n < vnet)
		return false;
	*ret_frame = (struct swarm_frame){
		.vnet = tun->offload ? (const struct virtio_net_hdr *)p : NULL,
		.bytes = p + vnet,
		.len = (uint32_t)(n - vnet),
	};
	return true;
}

int swarm_tun_read(struct swarm_tun *tun)
{
	size_t at = TUN_ALIGN - (tun->offload ? TUN_VNET_BYTES : 0);
	int n = 0;

	while (n < (int)SWARM_TUN_BATCH &&
	       at + TUN_PACKET_MAX <= TUN_BUFFER_BYTES) {
		ssize_t len = read(tun->fd, tun->buffer + at, TUN_PACKET_MAX);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno != EAGAIN)
			return -errno;
		if (len <= 0)
			break;
		if (swarm_tun_frame(tun, tun->buffer + at, (size_t)len,
				    &tun->frames[n]))
			n++;
		at += round_up((uint64_t)len, TUN_ALIGN);
	}
	tun->received += (uint64_t)n;
	return n;
}

struct swarm_headers *swarm_tun_headers(struct swarm_tun *tun)
{
	return tun->direct ? &tun->direct->headers[tun->direct->n]
			   : &tun->headers;
}

/* Returns how many parts there are. */
static int swarm_tun_parts(const struct swarm_tun *tun,
			   const struct swarm_headers *h,
			   const uint8_t *payload, uint32_t payload_len,
			   struct iovec ret_parts[TUN_PARTS])
{
	ret_parts[0] = (struct iovec){ (void *)h->bytes, h->len };
	if (tun->offload)
		ret_parts[0] = (struct iovec){ (void *)&h->vnet,
					       TUN_VNET_BYTES + h->len };
	ret_parts[1] = (struct iovec){ (void *)payload, payload_len };
	return payload_len > 0 ? 2 : 1;
}

void swarm_tun_send(struct swarm_tun *tun, const uint8_t *payload,
		    uint32_t payload_len)
{
	struct swarm_direct *d = tun->direct;
	struct iovec parts[TUN_PARTS];
	ssize_t rc;
	int n;

	if (d) {
		n = swarm_tun_parts(tun, &d->headers[d->n], payload,
				    payload_len, d->parts[d->n]);
		d->msgs[d->n].msg_hdr.msg_iov = d->parts[d->n];
		d->msgs[d->n].msg_hdr.msg_iovlen = (size_t)n;
		if (++d->n == TUN_DIRECT_BATCH)
			swarm_tun_flush(tun);
		return;
	}
	n = swarm_tun_parts(tun, &tun->headers, payload, payload_len, parts);
	rc = n == 1 ? write(tun->fd, parts[0].iov_base, parts[0].iov_len)
		    : writev(tun->fd, parts, n);
	if (rc < 0)
		tun->send_failed++;
	else
		tun->sent++;
}

void swarm_tun_flush(struct swarm_tun *tun)
{
	struct swarm_direct *d = tun->direct;
	uint32_t at = 0;
	int n;

	while (d && at < d->n) {
		n = sendmmsg(d->fd, d->msgs + at, d->n - at, 0);
		if (n < 0 && errno == EINTR)
			continue;
		/* the one that failed is lost */
		tun->send_failed += n < 0;
		tun->sent += n < 0 ? 0 : (uint64_t)n;
		at += n < 0 ? 1 : (uint32_t)n;
	}
	if (d)
		d->n = 0;
}
