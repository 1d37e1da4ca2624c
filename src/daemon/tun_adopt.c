/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/tun_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "arena/layout.h"
#include "base/log.h"

/* Of /dev/net/tun, as in the kernel's devices.txt. */
#define TUN_DEV_MAJOR 10
#define TUN_DEV_MINOR 200

/* All that changes what read(2) and write(2) mean, or who gets packets. */
#define TUN_FLAGS_CHECKED                                             \
	(IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_NAPI | \
	 IFF_NAPI_FRAGS | IFF_VNET_HDR | IFF_DETACH_QUEUE)

static void tun_queue_name(char ret_name[FDSTORE_NAME_MAX + 1],
			   const char *device, uint32_t i)
{
	snprintf(ret_name, FDSTORE_NAME_MAX + 1, "tun-%s-%u", device, i);
}

/* Whether the kernel says that the device is in another network namespace. */
static bool tun_queue_is_elsewhere(int fd)
{
	struct stat its, ours;
	int ns = ioctl(fd, TUNGETDEVNETNS);
	bool elsewhere;

	if (ns < 0)
		return false;
	elsewhere = fstat(ns, &its) == 0 &&
		    stat("/proc/self/ns/net", &ours) == 0 &&
		    (its.st_dev != ours.st_dev || its.st_ino != ours.st_ino);
	close(ns);
	return elsewhere;
}

/* What is wrong with it as a queue of the device; NULL: nothing. */
static const char *tun_queue_wrong(int fd, const char *device, bool *ret_its)
{
	struct ifreq ifr = { 0 };
	struct stat st;

	*ret_its = false;
	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(TUN_DEV_MAJOR, TUN_DEV_MINOR))
		return "it is no queue of a TUN device";
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return "its device is gone";
	if (strncmp(ifr.ifr_name, device, IFNAMSIZ) != 0)
		return "it is of another device";
	if (tun_queue_is_elsewhere(fd))
		return "its device is in another network namespace";
	*ret_its = true;
	if ((ifr.ifr_flags & TUN_FLAGS_CHECKED) != TUN_QUEUE_FLAGS)
		return "it is of another kind";
	/* the file's, and so of all that share it */
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return "it cannot be made non-blocking";
	return NULL;
}

/* The store's copy would go on getting packets that nobody reads. */
static void tun_queue_drop(int fd, bool its, const char *name, const char *why)
{
	struct ifreq ifr = { .ifr_flags = IFF_DETACH_QUEUE };

	log_warn("descriptor \"%s\" is not taken over: %s", name, why);
	if (its)
		(void)ioctl(fd, TUNSETQUEUE, &ifr);
	close(fd);
	fdstore_remove(name);
}

uint32_t tun_adopt_queues(struct fdstore *store, const char *device, uint32_t n,
			  int *ret_fds, uint32_t *ret_dropped)
{
	char name[FDSTORE_NAME_MAX + 1];
	uint32_t taken = 0;

	*ret_dropped = 0;
	for (uint32_t i = 0; i < n; i++)
		ret_fds[i] = -1;
	for (uint32_t i = 0; i < ARENA_WORKERS_MAX; i++) {
		const char *why;
		bool its;
		int fd;

		tun_queue_name(name, device, i);
		fd = fdstore_take(store, name);
		if (fd < 0)
			continue;
		why = tun_queue_wrong(fd, device, &its);
		if (!why && i >= n)
			why = "there are fewer workers now";
		if (!why) {
			ret_fds[i] = fd;
			taken++;
			continue;
		}
		*ret_dropped += its;
		tun_queue_drop(fd, its, name, why);
	}
	return taken;
}

int tun_keep_queue(const char *device, uint32_t i, int fd)
{
	char name[FDSTORE_NAME_MAX + 1];

	tun_queue_name(name, device, i);
	return fdstore_put(name, fd);
}

int tun_queue_attach(const char *device, uint32_t i, bool exists)
{
	struct ifreq ifr = { .ifr_flags = TUN_QUEUE_FLAGS };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd < 0) {
		err = -errno;
		log_error("/dev/net/tun: %s: %s", strerror(-err),
			  err == -ENOENT || err == -ENXIO
				  ? "load the module tun"
				  : "xtcpd must run as root");
		return err;
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	err = -errno;
	close(fd);
	if (err == -EPERM)
		log_error("tun %s: not permitted: xtcpd needs CAP_NET_ADMIN",
			  device);
	else if (err == -EINVAL && exists)
		log_error(
			"tun %s: the device that exists is no TUN of several queues: "
			"delete it (ip link del), or make it with "
			"\"ip tuntap add mode tun multi_queue\"",
			device);
	else
		log_error("tun %s: queue %u: %s", device, i, strerror(-err));
	return err;
}

bool tun_queue_offload(int fd, bool on)
{
	unsigned int flags =
		TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int hdr_bytes = sizeof(struct virtio_net_hdr);

	/* The device's, and so of all queues. */
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0)
		on = false;
	return ioctl(fd, TUNSETOFFLOAD, on ? flags : 0) == 0 && on;
}
