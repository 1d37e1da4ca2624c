/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/conf_keys.h"

#include "base/bytes.h"
#include "base/units.h"
#include "daemon/conf.h"

/* Enumerations are stored through an unsigned int (conf_value.c). */
static_assert(sizeof(enum conf_accept) == sizeof(unsigned int), "enum size");

static const char *const accept_names[] = { "auto", "application", NULL };
static const char *const ack_names[] = { "deferred", "delivered", "immediate",
					 NULL };
static const char *const balance_names[] = { "sticky", "any", "least", NULL };
static const char *const congestion_names[] = { "cubic", "reno", NULL };
static const char *const cookies_names[] = { "auto", "always", "never", NULL };
static const char *const loss_names[] = { "redeliver", "reset", "reset-all",
					  NULL };
static const char *const protocol_names[] = { "frames", "stream", NULL };
static const char *const proxy_names[] = { "none", "v1", "v2", NULL };
static const char *const steering_names[] = { "auto", "kernel", NULL };

static_assert(CONF_COOKIES_AUTO == 0 && CONF_COOKIES_ALWAYS == 1 &&
		      CONF_COOKIES_NEVER == 2 && CONF_ACCEPT_AUTO == 0 &&
		      CONF_ACCEPT_APPLICATION == 1 && CONF_ACK_DEFERRED == 0 &&
		      CONF_ACK_DELIVERED == 1 && CONF_ACK_IMMEDIATE == 2 &&
		      CONF_BALANCE_STICKY == 0 && CONF_BALANCE_ANY == 1 &&
		      CONF_BALANCE_LEAST == 2 && CONF_CONGESTION_CUBIC == 0 &&
		      CONF_CONGESTION_RENO == 1 && CONF_LOSS_REDELIVER == 0 &&
		      CONF_LOSS_RESET == 1 && CONF_STEERING_AUTO == 0 &&
		      CONF_STEERING_KERNEL == 1 && CONF_PROTOCOL_FRAMES == 0 &&
		      CONF_PROTOCOL_STREAM == 1 && CONF_PROXY_NONE == 0 &&
		      CONF_PROXY_V1 == 1 && CONF_PROXY_V2 == 2,
	      "names are indexed by value");

/* Longest time-out: 31 days, far from the end of 32 bits of milliseconds. */
#define TIMEOUT_MAX_MS ((int64_t)(31 * 24 * 60 * SEC_PER_MIN * MSEC_PER_SEC))

#define SIZE_OF(type, member) ((int64_t)sizeof(((type *)NULL)->member))
#define TOP(member) CONF_SEC_TOP, struct conf, member
#define TUN(member) CONF_SEC_TUN, struct conf_tun, member
#define LISTENS CONF_SEC_LISTEN, struct conf_tun, own
#define SOCK(section, member) section, struct conf_socket, member
#define POOL(member) CONF_SEC_POOL, struct conf_pool, member
#define GROUP(member) CONF_SEC_GROUP, struct conf_group, member
#define METRICS(member) CONF_SEC_METRICS, struct conf, member
#define BACKEND(member) CONF_SEC_BACKEND, struct conf_backend, member
/* The column "apply". */
#define LIVE CONF_AT_RELOAD
#define RESTART CONF_AT_RESTART
#define ARENA CONF_AT_NEW_ARENA

/* Is a field what conf_value.c stores for a key of this type? */
#define IS(field, type) __builtin_types_compatible_p(__typeof__(field), type)
#define FITS_U16(field) IS(field, uint16_t)
#define FITS_U32(field) IS(field, uint32_t)
#define FITS_I32(field) IS(field, int32_t)
#define FITS_SIZE(field) IS(field, uint64_t)
#define FITS_ACK_WINDOW(field) IS(field, uint32_t)
#define FITS_BOOL(field) IS(field, bool)
#define FITS_ENUM(field) (sizeof(field) == sizeof(unsigned int))
#define FITS_PATH(field) IS(field, char[])
#define FITS_STREAM(field) IS(field, char[])
#define FITS_MODE(field) IS(field, mode_t)
#define FITS_GID(field) IS(field, gid_t)
#define FITS_LISTEN(field) IS(field, struct sockaddr_storage)
#define FITS_VIPS(field) IS(field, struct conf_ip[])
#define FITS_VIP_SET(field) IS(field, uint64_t)
#define FITS_LINKS(field) IS(field, char[CONF_PROXIES_MAX][16])
#define FITS_OWN(field) IS(field, struct conf_own[])

/* 0, or an error of the compiler. */
#define NOTHING_IF(cond, why)              \
	(0 * sizeof(struct {               \
		 static_assert(cond, why); \
		 int none;                 \
	 }))

#define KEY(place, n, t, lo, hi, d, u, r, names, h) \
	KEY_(place, n, t, lo, hi, d, u, r, names, h)
#define KEY_(sec, type, member, n, t, lo, hi, d, u, r, enum_names, h)          \
	{                                                                      \
		sec, n, CONF_T_##t, lo, hi, d, u, r,                           \
			offsetof(type, member) +                               \
				NOTHING_IF(FITS_##t(((type *)NULL)->member), n \
					   ": its field is of another type"),  \
			enum_names, h                                          \
	}

/* A row: place, name, type, min, max, default, unit, apply, names, help. */
#define SOCKET_KEYS(section, path_def, what)                                  \
	KEY(SOCK(section, path), "socket", PATH, 1,                           \
	    SIZE_OF(struct conf_socket, path) - 1, path_def, NULL, RESTART,   \
	    NULL, "where " what),                                             \
		KEY(SOCK(section, mode), "mode", MODE, 0, 0777, "0660", NULL, \
		    RESTART, NULL, "permissions of the socket"),              \
		KEY(SOCK(section, gid), "group", GID, 0, 0, "xtcpd", NULL,    \
		    RESTART, NULL, "group of users that owns the socket")

/* clang-format off */
const struct conf_key conf_keys[] = {
	KEY(TOP(max_connections), "max-connections", U32, 1, 100000000,
	    "1000000", "connections", LIVE, NULL, "sizes the arena"),
	KEY(TOP(workers), "workers", U32, 0, 64,
	    "0", "threads", ARENA, NULL, "0: one per core"),
	KEY(TOP(state_dir), "state-dir", PATH, 1, SIZE_OF(struct conf, state_dir) - 1,
	    "/run/xtcpd", NULL, RESTART, NULL, "where the arena is kept, on a tmpfs"),
	KEY(TOP(transmit_buffer_bytes), "transmit-buffer", SIZE, MIB, 1024 * GIB,
	    "256M", "bytes", ARENA, NULL,
	    "bound of all replies that clients have not acknowledged"),
	KEY(TOP(half_open_max), "half-open-max", U32, 1, 100000000,
	    "65536", "connections", LIVE, NULL,
	    "bound of handshakes that are not complete"),
	KEY(TOP(half_open_per_source), "half-open-per-source", U32, 0, 100000000,
	    "1024", "connections", LIVE, NULL,
	    "of these, of one address; 0: no limit"),
	KEY(TOP(syn_cookies), "syn-cookies", ENUM, 0, 0,
	    "auto", NULL, LIVE, cookies_names,
	    "answer SYNs without keeping state"),
	KEY(TOP(syn_cookies_above), "syn-cookies-above", U32, 0, 100,
	    "50", "per cent", LIVE, NULL,
	    "auto: fill of half-open-max above which cookies are sent"),
	KEY(TOP(sandbox), "sandbox", BOOL, 0, 1,
	    "true", NULL, RESTART, NULL,
	    "give up privileges and system calls once all is set up"),

	KEY(TUN(vips), "vip", VIPS, 1, CONF_VIPS_MAX,
	    NULL, NULL, LIVE, NULL, "addresses that are routed to the device"),
	KEY(TUN(mtu), "mtu", U32, 1280, 65535,
	    "1500", "bytes", RESTART, NULL, "largest IP packet"),
	KEY(TUN(offload), "offload", BOOL, 0, 1,
	    "true", NULL, RESTART, NULL, "let the kernel segment and checksum"),
	KEY(TUN(steering), "steering", ENUM, 0, 0,
	    "auto", NULL, RESTART, steering_names,
	    "who chooses the queue of a packet, with more than one worker"),

	KEY(TUN(proxies), "proxy-arp", LINKS, 1, CONF_PROXIES_MAX,
	    "", NULL, RESTART, NULL,
	    "interfaces on which this host answers for the addresses"),

	KEY(LISTENS, "address", OWN, 1, CONF_VIPS_MAX,
	    NULL, NULL, LIVE, NULL, "addresses of this host"),
	KEY(LISTENS, "port", OWN, 1, 65535,
	    NULL, NULL, LIVE, NULL, "TCP ports that are taken over"),

	SOCKET_KEYS(CONF_SEC_CONTROL, "/run/xtcpd/control.sock", "xtcpctl connects"),
	SOCKET_KEYS(CONF_SEC_ATTACH, "/run/xtcpd/attach.sock", "applications attach"),

	KEY(METRICS(metrics_addr), "listen", LISTEN, 1, 65535,
	    NULL, NULL, RESTART, NULL, "address and port of the metrics"),

	KEY(POOL(receive_buffer_bytes), "receive-buffer", SIZE, 64 * KIB, 1024 * GIB,
	    "64M", "bytes", LIVE, NULL,
	    "bound of all requests that the application did not acknowledge"),
	KEY(POOL(throttle_high), "throttle-high", U32, 1, 100,
	    "90", "per cent", LIVE, NULL, "fill above which the pool is throttled"),
	KEY(POOL(throttle_low), "throttle-low", U32, 0, 100,
	    "75", "per cent", LIVE, NULL, "fill below which throttling ends"),

	KEY(GROUP(port), "port", U16, 1, 65535,
	    NULL, NULL, LIVE, NULL, "TCP port"),
	KEY(GROUP(vip_mask), "vip", VIP_SET, 1, CONF_VIPS_MAX,
	    "", NULL, LIVE, NULL, "only these of the tun's addresses"),
	KEY(GROUP(accept), "accept", ENUM, 0, 0,
	    "auto", NULL, LIVE, accept_names, "who completes handshakes"),
	KEY(GROUP(announce), "announce", BOOL, 0, 1,
	    "false", NULL, LIVE, NULL, "tell the backend of a connection before its first bytes"),
	KEY(GROUP(accept_timeout_ms), "accept-timeout", U32, 100, 600000,
	    "3000", "ms", LIVE, NULL, "an application that does not accept in this time refuses"),
	KEY(GROUP(ack), "ack", ENUM, 0, 0,
	    "deferred", NULL, LIVE, ack_names,
	    "when received bytes are acknowledged to the client"),
	KEY(GROUP(ack_deadline_ms), "ack-deadline", U32, 0, 600000,
	    "0", "ms", LIVE, NULL, "deferred: acknowledge anyway after this long; 0: never"),
	KEY(GROUP(ack_window_bytes), "ack-window", ACK_WINDOW, 0, GIB,
	    "auto", "bytes", LIVE, NULL, "deferred: acknowledge anyway beyond so much; 0: never"),
	KEY(GROUP(priority), "priority", I32, -1000000, 1000000,
	    "0", NULL, LIVE, NULL, "groups of one port: higher ones take connections first"),
	KEY(GROUP(max_connections), "max-connections", U32, 0, 100000000,
	    "0", "connections", LIVE, NULL, "0: no limit"),
	KEY(GROUP(max_per_source), "max-per-source", U32, 0, 100000000,
	    "0", "connections", LIVE, NULL,
	    "of one address, in each worker; 0: no limit"),
	KEY(GROUP(balance), "balance", ENUM, 0, 0,
	    "sticky", NULL, LIVE, balance_names, "which backend gets a request"),
	KEY(GROUP(idle_timeout_ms), "idle-timeout", U32, 0, TIMEOUT_MAX_MS,
	    "0", "ms", LIVE, NULL, "close a connection that was quiet for so long; 0: never"),
	KEY(GROUP(keepalive_ms), "keepalive", U32, 0, TIMEOUT_MAX_MS,
	    "0", "ms", LIVE, NULL, "probe a connection that was quiet for so long; 0: never"),
	KEY(GROUP(user_timeout_ms), "user-timeout", U32, 1000, TIMEOUT_MAX_MS,
	    "600000", "ms", LIVE, NULL, "give up a client that acknowledges nothing for so long"),
	KEY(GROUP(congestion), "congestion", ENUM, 0, 0,
	    "cubic", NULL, LIVE, congestion_names, "congestion control: RFC 9438 or RFC 5681"),
	KEY(GROUP(ecn), "ecn", BOOL, 0, 1,
	    "true", NULL, LIVE, NULL, "negotiate ECN with clients that ask for it, RFC 3168"),
	KEY(GROUP(on_backend_loss), "on-backend-loss", ENUM, 0, 0,
	    "redeliver", NULL, LIVE, loss_names,
	    "what becomes of the connections of a lost backend"),
	KEY(GROUP(backend_timeout_ms), "backend-timeout", U32, 0, TIMEOUT_MAX_MS,
	    "0", "ms", LIVE, NULL,
	    "give up a backend that has requests and replies to none for so long; 0: never"),

	KEY(BACKEND(address), "address", STREAM, 1, SIZE_OF(struct conf_backend, address) - 1,
	    NULL, NULL, LIVE, NULL, "unix:PATH or tcp:HOST:PORT to dial"),
	KEY(BACKEND(protocol), "protocol", ENUM, 0, 0,
	    "frames", NULL, LIVE, protocol_names,
	    "frames, or a connection to the backend for each client"),
	KEY(BACKEND(streams), "streams", U32, 0, 1000000,
	    "0", "connections", LIVE, NULL,
	    "frames: so many per worker, 0: 1; stream: at most so many, 0: no limit"),
	KEY(BACKEND(max_inflight), "max-inflight", U32, 0, 100000000,
	    "0", "connections", LIVE, NULL,
	    "connections with unacknowledged requests; 0: no limit"),
	KEY(BACKEND(proxy), "proxy-protocol", ENUM, 0, 0,
	    "none", NULL, LIVE, proxy_names,
	    "stream: begin with a header that tells the client's address"),
	KEY(BACKEND(stream_idle_close_ms), "stream-idle-close", U32, 0, TIMEOUT_MAX_MS,
	    "0", "ms", LIVE, NULL,
	    "stream: close the backend's connection of a client quiet for so long; 0: never"),
};
/* clang-format on */

const size_t conf_n_keys = ARRAY_SIZE(conf_keys);

const char *conf_section_name(enum conf_section section)
{
	static const char *const names[CONF_SECTIONS] = {
		"",	   "tun",  "listen", "control", "attach",
		"metrics", "pool", "group",  "backend",
	};

	return names[section];
}
