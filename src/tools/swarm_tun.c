/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

static_assert(sizeof(struct virtio_net_hdr) == 10, "TUNGETVNETHDRSZ's default");

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

void swarm_tun_close(struct swarm_tun *tun)
{
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

void swarm_tun_send(struct swarm_tun *tun, const struct virtio_net_hdr *vnet,
		    const uint8_t *headers, uint32_t headers_len,
		    const uint8_t *payload, uint32_t payload_len)
{
	struct iovec iov[3];
	int n = 0;

	if (tun->offload)
		iov[n++] = (struct iovec){ (void *)vnet, sizeof(*vnet) };
	iov[n++] = (struct iovec){ (void *)headers, headers_len };
	if (payload_len > 0)
		iov[n++] = (struct iovec){ (void *)payload, payload_len };
	if (writev(tun->fd, iov, n) < 0)
		tun->send_failed++;
	else
		tun->sent++;
}
