/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf - the configuration of xtcpd as plain data (xtcpd.conf(5)).
 *
 * A struct conf is built whole from one file, checked, and never changed
 * once it is in force: a reload makes a second one and compares. Every key
 * stands in one table in conf_keys.c (name, type, minimum, maximum, default,
 * unit, when it takes effect, help).
 *
 * Groups, pools and addresses are known by name; the numbers by which workers
 * and records know them are the registry's, which notes them here before the
 * configuration comes into force. conf_load() numbers them in order.
 */
#ifndef XTCP_DAEMON_CONF_H
#define XTCP_DAEMON_CONF_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONF_VIPS_MAX 64
#define CONF_GROUPS_MAX 256
#define CONF_POOLS_MAX 64
#define CONF_NAME_MAX 64 /* with the NUL */
#define CONF_LISTENS_MAX 32 /* sections */
#define CONF_OWN_MAX 512 /* ports of the host's own addresses */
#define CONF_PROXIES_MAX 8

struct conf_ip {
	uint8_t family; /* 4 or 6 */
	uint8_t bytes[16]; /* IPv4: the first four */
};

/* A port of an address that is the host's own: the sections "listen". */
struct conf_own {
	char link[16]; /* name of the interface that its packets come in on */
	struct conf_ip ip; /* one of conf_tun.vips */
	uint16_t port;
};

enum conf_steering { CONF_STEERING_AUTO, CONF_STEERING_KERNEL };

struct conf_tun {
	char name[16]; /* interface name */
	struct conf_ip vips[CONF_VIPS_MAX];
	uint8_t vip_numbers[CONF_VIPS_MAX]; /* as in arena_header.vips */
	uint32_t n_vips;
	uint64_t own_vips; /* bit i: vips[i] is the host's own, never routed */
	struct conf_own own[CONF_OWN_MAX];
	uint32_t n_own;
	char proxies[CONF_PROXIES_MAX][16]; /* interface names; "": none */
	uint32_t mtu; /* bytes, 1280..65535 */
	bool offload;
	enum conf_steering steering;
};

struct conf_socket {
	char path[108];
	mode_t mode;
	gid_t gid; /* (gid_t)-1: leave as is */
};

enum conf_accept { CONF_ACCEPT_AUTO, CONF_ACCEPT_APPLICATION };
enum conf_ack { CONF_ACK_DEFERRED, CONF_ACK_DELIVERED, CONF_ACK_IMMEDIATE };
enum conf_balance { CONF_BALANCE_STICKY, CONF_BALANCE_ANY, CONF_BALANCE_LEAST };
enum conf_congestion { CONF_CONGESTION_CUBIC, CONF_CONGESTION_RENO };
enum conf_cookies {
	CONF_COOKIES_AUTO,
	CONF_COOKIES_ALWAYS,
	CONF_COOKIES_NEVER
};
enum conf_loss { CONF_LOSS_REDELIVER, CONF_LOSS_RESET, CONF_LOSS_RESET_ALL };
enum conf_protocol {
	CONF_PROTOCOL_FRAMES, /* xtcp-frame(7) */
	CONF_PROTOCOL_STREAM, /* a connection of its own per client (plain.h) */
};
enum conf_proxy { CONF_PROXY_NONE, CONF_PROXY_V1, CONF_PROXY_V2 };

#define CONF_ACK_WINDOW_AUTO UINT32_MAX

struct conf_backend {
	char name[CONF_NAME_MAX];
	char address[128]; /* "unix:PATH" or "tcp:HOST:PORT", checked */
	enum conf_protocol protocol;
	/*
	 * Frames: per worker, 1..16. Stream: connections at a time, over all
	 * workers; 0: no limit.
	 */
	uint32_t streams;
	uint32_t max_inflight; /* connections with unacknowledged requests, 0: no limit */
	enum conf_proxy proxy; /* stream: the header that comes first */
	uint32_t stream_idle_close_ms; /* stream; 0: never */
};

struct conf_group {
	char name[CONF_NAME_MAX];
	uint16_t id;
	uint32_t pool; /* index into conf.pools */
	uint16_t port;
	uint64_t vip_mask; /* bit i: vips[i]; all ones: every VIP */
	enum conf_accept accept;
	bool announce;
	uint32_t accept_timeout_ms;
	enum conf_ack ack;
	uint32_t ack_deadline_ms; /* 0: never */
	uint32_t ack_window_bytes; /* 0: never; CONF_ACK_WINDOW_AUTO */
	int32_t priority; /* higher first */
	uint32_t max_connections; /* 0: no limit */
	uint32_t max_per_source; /* of one worker; 0: no limit */
	enum conf_balance balance;
	uint32_t idle_timeout_ms; /* 0: never */
	uint32_t keepalive_ms; /* 0: never */
	uint32_t user_timeout_ms; /* unacknowledged data for so long: the client is down */
	enum conf_congestion congestion;
	bool ecn;
	enum conf_loss on_backend_loss;
	uint32_t backend_timeout_ms; /* requests in hand and no REPLY for so long; 0: never */
	enum conf_protocol protocol; /* that of all its backends */
	struct conf_backend *backends; /* heap */
	uint32_t n_backends;
};

struct conf_pool {
	char name[CONF_NAME_MAX];
	uint16_t number;
	uint64_t receive_buffer_bytes;
	uint32_t throttle_high; /* per cent of receive_buffer */
	uint32_t throttle_low;
};

struct conf {
	uint32_t max_connections;
	uint32_t workers; /* resolved: never 0 */
	char state_dir[96];
	uint64_t transmit_buffer_bytes;
	uint32_t half_open_max; /* over all workers */
	uint32_t half_open_per_source; /* of one worker; 0: no limit */
	enum conf_cookies syn_cookies;
	uint32_t syn_cookies_above; /* per cent of half_open_max */
	bool sandbox;
	struct conf_tun tun;
	struct conf_socket control;
	struct conf_socket attach;
	bool has_metrics;
	struct sockaddr_storage metrics_addr;
	struct conf_pool *pools; /* heap */
	uint32_t n_pools;
	struct conf_group *groups; /* heap */
	uint32_t n_groups;
};

/* Where an error message of conf_load() goes: one complete line, no newline. */
typedef void (*conf_report)(void *arg, const char *line);

/*
 * Read and check path. Each problem is reported as one line
 * "FILE:LINE: KEY: what is wrong, the value and the range"; reading goes on
 * where it can, so that one run shows all problems.
 * Returns a new configuration (conf_free), or NULL when anything was reported.
 */
struct conf *conf_load(const char *path, conf_report report, void *arg);

/* Accepts NULL. */
void conf_free(struct conf *conf);

/* By name, or by number; NULL: there is none. */
const struct conf_group *conf_find_group(const struct conf *conf,
					 const char *name);
const struct conf_group *conf_group_of(const struct conf *conf, uint16_t id);
const struct conf_pool *conf_find_pool(const struct conf *conf,
				       const char *name);
const struct conf_pool *conf_pool_of(const struct conf *conf, uint32_t number);

/* Is the address one of the tun's? Returns its index, or -1. */
int conf_find_vip(const struct conf_tun *tun, const struct conf_ip *ip);

/* The same, of those that are routed to the device, or are the host's own. */
int conf_find_vip_as(const struct conf_tun *tun, const struct conf_ip *ip,
		     bool own);

/* Is this port of this address among tun's, on this interface? */
bool conf_has_own(const struct conf_tun *tun, const struct conf_own *own);

/*
 * What differs between running and wanted: one line each through report, like
 * "group im: ack-deadline 0 -> 200", with "needs a restart" in those that a
 * reload can't change. Returns the count of the latter.
 */
unsigned conf_diff(const struct conf *running, const struct conf *wanted,
		   conf_report report, void *arg);

/* What a reload can't change becomes in wanted as it is in running. */
void conf_keep(const struct conf *running, struct conf *wanted);

#endif
