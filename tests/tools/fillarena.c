/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fillarena - adds idle connections to an arena that a daemon left.
 *
 * The arena has to be one that no process uses: of a daemon that was killed.
 * It gets N records as the daemon leaves those of idle connections: established,
 * some bytes settled in both directions, no block. Their clients are made up,
 * eight to an address from 10.0.0.0 on. So a daemon can be started on a million
 * connections without a million clients.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena/arena.h"
#include "arena/recover.h"
#include "arena/shard.h"
#include "stack/state.h"
#include "tools/pattern.h"

#define FILL_FIRST_ADDRESS 0x0a000001u
#define FILL_PER_ADDRESS 8u
#define FILL_FIRST_PORT 40000u
#define USEC_PER_MSEC 1000u

struct fill {
	struct arena arena;
	struct shard shards[ARENA_WORKERS_MAX];
	uint64_t now_us;
	uint32_t connections;
	uint16_t port, group;
	uint8_t vip;
};

static uint64_t fill_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static int fill_open(struct fill *f, const char *path)
{
	const char *why = "";
	int fd = open(path, O_RDWR | O_CLOEXEC), err;

	err = fd < 0 ? -errno : arena_adopt(&f->arena, fd, &why);
	if (err < 0) {
		fprintf(stderr, "fillarena: %s: %s %s\n", path, strerror(-err),
			why);
		return err;
	}
	for (uint32_t i = 0; i < f->arena.header->workers; i++) {
		err = shard_init(&f->shards[i], &f->arena, i, f->now_us);
		if (err < 0)
			return err;
		(void)shard_rebuild(&f->shards[i], f->now_us, NULL, NULL);
	}
	return 0;
}

/* As conn_rest() leaves a record; the state comes last. */
static void fill_rec(const struct fill *f, struct rec *r, uint32_t i)
{
	uint64_t random = pattern_word(1, i);

	r->vip = f->vip;
	r->flags = REC_TS | REC_WSCALE | REC_SACK;
	r->wscale = 7 << 4 | 7;
	r->group = f->group & 0xfffu;
	r->rcv_adv_units = 16;
	r->last_active = (uint32_t)(f->now_us / (REC_TICK_MS * USEC_PER_MSEC));
	r->mss = 1448;
	r->snd_wnd = 500;
	r->ts_recent = (uint32_t)(random >> 8);
	r->irs = (uint32_t)random;
	r->iss = (uint32_t)(random >> 32);
	r->rcv_off = random % 100000;
	r->snd_off = random % 200000;
	__atomic_store_n(&r->state, TCP_ESTABLISHED, __ATOMIC_RELEASE);
}

/* Returns 0, or -ENOSPC when the connection's shard is full. */
static int fill_one(struct fill *f, uint32_t i)
{
	struct tuple tuple = {
		.remote_port =
			(uint16_t)(FILL_FIRST_PORT + i % FILL_PER_ADDRESS),
		.local_port = f->port,
		.vip = f->vip,
	};
	uint32_t address = htonl(FILL_FIRST_ADDRESS + i / FILL_PER_ADDRESS);
	uint64_t hash;
	struct shard *sh;
	uint32_t ri;

	memcpy(tuple.remote, &address, sizeof(address));
	hash = tuple_hash(f->arena.header, &tuple);
	sh = &f->shards[tuple_worker(f->arena.header, &tuple,
				     f->arena.header->workers)];
	ri = shard_rec_new(sh, &tuple, hash);
	if (ri == NIL)
		return -ENOSPC;
	fill_rec(f, &sh->recs[ri], i);
	return 0;
}

static void usage(FILE *out)
{
	fputs("usage: fillarena ARENA [OPTION]...\n"
	      "  --connections N  idle connections to add (1000000)\n"
	      "  --port N         that they are connected to (7)\n"
	      "  --group N        number of its group (1)\n"
	      "  --vip N          number of the virtual address, IPv4 (0)\n",
	      out);
}

static uint32_t parse_number(const char *text, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n > max) {
		fprintf(stderr, "fillarena: %s: not a number up to %u\n", text,
			max);
		exit(2);
	}
	return (uint32_t)n;
}

static void parse_options(struct fill *f, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "connections", required_argument, NULL, 'n' },
		{ "port", required_argument, NULL, 'p' },
		{ "group", required_argument, NULL, 'g' },
		{ "vip", required_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'n':
			f->connections = parse_number(optarg, 100000000);
			break;
		case 'p':
			f->port = (uint16_t)parse_number(optarg, 65535);
			break;
		case 'g':
			f->group = (uint16_t)parse_number(optarg, 4095);
			break;
		case 'v':
			f->vip = (uint8_t)parse_number(optarg,
						       ARENA_VIPS_MAX - 1);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct fill f = { .connections = 1000000,
				 .port = 7,
				 .group = 1 };
	uint32_t i = 0;
	int err;

	parse_options(&f, argc, argv);
	f.now_us = fill_clock_us();
	err = fill_open(&f, argv[optind]);
	while (err == 0 && i < f.connections && (err = fill_one(&f, i)) == 0)
		i++;
	if (err == -ENOSPC)
		fprintf(stderr,
			"fillarena: a shard is full after %u connections\n", i);
	for (uint32_t w = 0; w < ARENA_WORKERS_MAX; w++)
		if (f.shards[w].header)
			shard_fini(&f.shards[w]);
	arena_close(&f.arena);
	return err < 0 ? 1 : 0;
}
