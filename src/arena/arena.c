/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/siphash.h"

#define ARENA_PAGE_BYTES 4096u
/* Huge pages want their parts aligned (transparent huge pages are advised). */
#define ARENA_PART_ALIGN (2u * 1024u * 1024u)

uint64_t arena_layout_hash(void)
{
	static const struct siphash_key key = { 0x6c61796f7574, ARENA_VERSION };
	const uint32_t facts[] = {
		sizeof(struct arena_header),
		sizeof(struct arena_group),
		sizeof(struct rec),
		sizeof(struct rec6),
		sizeof(struct blk),
		sizeof(struct chunk),
		CHUNK_BYTES,
		ARENA_PART_ALIGN,
		ARENA_GROUPS_MAX,
		ARENA_SLOTS,
		offsetof(struct arena_header, shards),
		offsetof(struct arena_header, vips),
		offsetof(struct rec, slot),
		offsetof(struct rec, last_active),
		offsetof(struct rec, block),
		offsetof(struct rec, ts_recent),
		offsetof(struct rec, rcv_off),
		offsetof(struct rec, irs),
		offsetof(struct blk, ends),
		offsetof(struct blk, snd_una),
		offsetof(struct blk, tx_head),
		offsetof(struct blk, rcv_nxt),
		offsetof(struct blk, rcv_adv),
		offsetof(struct blk, rx_head),
		offsetof(struct blk, sack),
		offsetof(struct blk, cc),
		offsetof(struct blk, rtt),
		offsetof(struct blk, sent),
		offsetof(struct blk, loss),
		offsetof(struct blk, pmtu),
		offsetof(struct blk, rexmit_at),
		offsetof(struct blk, wheel),
		offsetof(struct blk, flags),
		offsetof(struct blk, app_next),
		offsetof(struct chunk, seq),
		offsetof(struct chunk, owner),
	};

	return siphash(&key, facts, sizeof(facts));
}

struct shard_layout arena_shard_layout(const struct arena_header *header,
				       uint32_t i)
{
	struct shard_layout at = { 0 };
	uint64_t pos = 0, start;

#define PART(name, n, each)                                    \
	at.name = pos;                                         \
	pos = round_up(pos + (uint64_t)(n) * (uint64_t)(each), \
		       ARENA_PART_ALIGN);
	SHARD_PARTS(PART, header)
#undef PART
	start = round_up(sizeof(struct arena_header), ARENA_PART_ALIGN) +
		i * pos;
#define PART(name, n, each) at.name += start;
	SHARD_PARTS(PART, header)
#undef PART
	at.end = start + pos;
	return at;
}

/*
 * A worker's share of n, with room for the unevenness of hashing: connections
 * spread over the workers by hash, so a share must bear some more than n / W.
 */
static uint64_t arena_share(uint64_t n, uint32_t workers, uint64_t slack)
{
	if (workers == 1)
		return n;
	return min_u64(n, n / workers + n / workers / 4 + slack);
}

uint64_t arena_header_check(const struct arena_header *header)
{
	static const struct siphash_key key = { 0x636865636b, ARENA_VERSION };

	return siphash(&key, &header->version,
		       offsetof(struct arena_header, check) -
			       offsetof(struct arena_header, version));
}

uint32_t arena_recs_per_shard(uint32_t max_connections, uint32_t workers)
{
	return (uint32_t)arena_share(max_connections, workers, 1024);
}

/* For as many workers as the header has. */
static void arena_header_size(struct arena_header *header,
			      const struct arena_sizes *sizes)
{
	uint32_t w = header->workers;

	header->recs_per_shard =
		arena_recs_per_shard(sizes->max_connections, w);
	header->rx_chunks_per_shard =
		(uint32_t)max_u64(64, sizes->rx_bytes / w / CHUNK_BYTES);
	header->tx_chunks_per_shard =
		(uint32_t)max_u64(64, sizes->tx_bytes / w / CHUNK_BYTES);
}

unsigned int arena_compare(const struct arena *arena,
			   const struct arena_sizes *sizes)
{
	const struct arena_header *header = arena->header;
	struct arena_header other = { .workers = header->workers };
	unsigned int set = 0;

	arena_header_size(&other, sizes);
	if (header->workers != sizes->workers)
		set |= ARENA_DIFFERS_WORKERS;
	if (header->recs_per_shard != other.recs_per_shard)
		set |= ARENA_DIFFERS_CONNECTIONS;
	if (header->rx_chunks_per_shard != other.rx_chunks_per_shard)
		set |= ARENA_DIFFERS_RX;
	if (header->tx_chunks_per_shard != other.tx_chunks_per_shard)
		set |= ARENA_DIFFERS_TX;
	return set;
}

static int arena_header_fill(struct arena_header *header,
			     const struct arena_sizes *sizes)
{
	memset(header, 0, sizeof(*header));
	header->version = ARENA_VERSION;
	header->workers = sizes->workers;
	header->layout_hash = arena_layout_hash();
	arena_header_size(header, sizes);
	if (getrandom(header->secret, sizeof(header->secret), 0) !=
	    sizeof(header->secret))
		return -EIO;
	if (getrandom(header->worker_keys, sizeof(header->worker_keys), 0) !=
	    sizeof(header->worker_keys))
		return -EIO;
	return 0;
}

static int arena_boot_id(uint8_t ret_id[16])
{
	char text[40] = { 0 };
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	static const struct siphash_key key = { 0, 0 };
	ssize_t n;
	uint64_t half;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	half = siphash(&key, text, (size_t)n);
	memcpy(ret_id, &half, 8);
	half = siphash13(&key, text, (size_t)n);
	memcpy(ret_id + 8, &half, 8);
	return 0;
}

static int arena_open_file(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
		      : memfd_create("xtcpd-arena", MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int arena_map(struct arena *arena)
{
	void *map = mmap(NULL, arena->bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE, arena->fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	arena->base = map;
	arena->header = map;
	return 0;
}

int arena_create(struct arena *ret_arena, const char *path,
		 const struct arena_sizes *sizes)
{
	struct arena_header header;
	struct arena arena = { 0 };
	int err;

	if (!sizes->workers || sizes->workers > ARENA_WORKERS_MAX ||
	    !sizes->max_connections)
		return -EINVAL;
	err = arena_header_fill(&header, sizes);
	if (!err)
		err = arena_boot_id(header.boot_id);
	if (err)
		return err;
	header.check = arena_header_check(&header);
	arena.fd = arena_open_file(path);
	if (arena.fd < 0)
		return arena.fd;
	arena.bytes = arena_shard_layout(&header, sizes->workers - 1).end;
	if (ftruncate(arena.fd, (off_t)arena.bytes) < 0 ||
	    arena_map(&arena) < 0)
		goto fail;
	*arena.header = header;
	/* The magic comes last: a file without it was never finished. */
	__atomic_store_n(&arena.header->magic, ARENA_MAGIC, __ATOMIC_RELEASE);
	*ret_arena = arena;
	return 0;
fail:
	err = -errno;
	close(arena.fd);
	if (path)
		unlink(path);
	return err;
}

/* Why the header can't be taken over, or NULL. */
static const char *arena_header_wrong(const struct arena_header *header,
				      int *ret_err)
{
	uint8_t boot_id[16];

	*ret_err = -EBADMSG;
	if (header->magic != ARENA_MAGIC)
		return "it is no arena, or was never finished";
	*ret_err = -EPROTO;
	if (header->version != ARENA_VERSION)
		return "it is of another version";
	if (header->layout_hash != arena_layout_hash())
		return "it has another layout";
	*ret_err = -EBADMSG;
	if (header->check != arena_header_check(header) || !header->workers ||
	    header->workers > ARENA_WORKERS_MAX || !header->recs_per_shard)
		return "its header is damaged";
	*ret_err = -ESTALE;
	if (arena_boot_id(boot_id) < 0 ||
	    memcmp(boot_id, header->boot_id, sizeof(boot_id)) != 0)
		return "it is from before the machine was booted";
	return NULL;
}

int arena_adopt(struct arena *ret_arena, int fd, const char **ret_why)
{
	struct arena arena = { .fd = fd };
	struct arena_header header;
	struct stat st;
	int err;

	*ret_why = "it cannot be read";
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_why = "it is too short";
	if (!S_ISREG(st.st_mode) ||
	    pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return -EBADMSG;
	*ret_why = arena_header_wrong(&header, &err);
	if (*ret_why)
		return err;
	arena.bytes = arena_shard_layout(&header, header.workers - 1).end;
	*ret_why = "it is not as long as its header says";
	if ((uint64_t)st.st_size != arena.bytes)
		return -EBADMSG;
	*ret_why = "it cannot be mapped";
	err = arena_map(&arena);
	if (err < 0)
		return err;
	*ret_why = NULL;
	*ret_arena = arena;
	return 0;
}

void arena_close(struct arena *arena)
{
	if (!arena->base)
		return;
	munmap(arena->base, arena->bytes);
	close(arena->fd);
	*arena = (struct arena){ 0 };
}

uint64_t arena_resident_bytes(const struct arena *arena)
{
	struct stat st;

	if (!arena->base || fstat(arena->fd, &st) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}
