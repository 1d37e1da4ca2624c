/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_BYTES_H
#define XTCP_BASE_BYTES_H

/*
 * Bytes and small integers: endian-typed fields, and the handful of macros
 * that every layer uses.
 *
 * A value in network byte order has a type of its own (be16, be32, be64), so
 * that forgetting to swap it does not compile. The types have alignment 1:
 * a structure made of them (and of uint8_t) has no padding and can be mapped
 * onto any byte of a packet.
 */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NDEBUG
#error "asserts guard the invariants of connections: build without -DNDEBUG"
#endif

typedef struct {
	uint16_t raw;
} __attribute__((packed)) be16;

typedef struct {
	uint32_t raw;
} __attribute__((packed)) be32;

typedef struct {
	uint64_t raw;
} __attribute__((packed)) be64;

static_assert(sizeof(be16) == 2 && _Alignof(be16) == 1, "be16 is two bytes");
static_assert(sizeof(be32) == 4 && _Alignof(be32) == 1, "be32 is four bytes");
static_assert(sizeof(be64) == 8 && _Alignof(be64) == 1, "be64 is eight bytes");

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_SWAP16(v) __builtin_bswap16(v)
#define BYTES_SWAP32(v) __builtin_bswap32(v)
#define BYTES_SWAP64(v) __builtin_bswap64(v)
#else
#define BYTES_SWAP16(v) ((uint16_t)(v))
#define BYTES_SWAP32(v) ((uint32_t)(v))
#define BYTES_SWAP64(v) ((uint64_t)(v))
#endif

/* be*_get(): the field's value as a host integer. */
static inline uint16_t be16_get(be16 f)
{
	return BYTES_SWAP16(f.raw);
}

static inline uint32_t be32_get(be32 f)
{
	return BYTES_SWAP32(f.raw);
}

static inline uint64_t be64_get(be64 f)
{
	return BYTES_SWAP64(f.raw);
}

/* be*_put(): a field that holds the host integer @v. */
static inline be16 be16_put(uint16_t v)
{
	return (be16){ .raw = BYTES_SWAP16(v) };
}

static inline be32 be32_put(uint32_t v)
{
	return (be32){ .raw = BYTES_SWAP32(v) };
}

static inline be64 be64_put(uint64_t v)
{
	return (be64){ .raw = BYTES_SWAP64(v) };
}

/* be*_load(), be*_store(): the same for bytes that no structure is mapped on. */
static inline uint16_t be16_load(const void *p)
{
	return be16_get(*(const be16 *)p);
}

static inline uint32_t be32_load(const void *p)
{
	return be32_get(*(const be32 *)p);
}

static inline uint64_t be64_load(const void *p)
{
	return be64_get(*(const be64 *)p);
}

static inline void be16_store(void *p, uint16_t v)
{
	*(be16 *)p = be16_put(v);
}

static inline void be32_store(void *p, uint32_t v)
{
	*(be32 *)p = be32_put(v);
}

static inline void be64_store(void *p, uint64_t v)
{
	*(be64 *)p = be64_put(v);
}

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The number of elements of an array; a pointer is refused by the compiler. */
#define ARRAY_SIZE(a)                                            \
	(sizeof(a) / sizeof((a)[0]) +                            \
	 0 * sizeof(char[1 - 2 * !!__builtin_types_compatible_p( \
					 __typeof__(a), __typeof__(&(a)[0]))]))

/* The structure of type @type whose field @member is at @ptr. */
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Compile-time checks of a layout that is shared or on the wire. */
#define ASSERT_SIZE(type, bytes) \
	static_assert(sizeof(type) == (bytes), "size of " #type)
#define ASSERT_OFFSET(type, member, bytes)               \
	static_assert(offsetof(type, member) == (bytes), \
		      "offset of " #member " in " #type)

/* What two threads write must not share one of these (I4). */
#define CACHE_LINE_BYTES 64
#define cache_aligned __attribute__((aligned(CACHE_LINE_BYTES)))

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* @v between @lo and @hi, both inclusive. */
static inline uint64_t clamp_u64(uint64_t v, uint64_t lo, uint64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

static inline bool is_pow2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* @v rounded up to a multiple of @align, which is a power of two. */
static inline uint64_t round_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

/* The smallest power of two that is >= @v; 1 for 0; @v at most 2^63. */
static inline uint64_t next_pow2(uint64_t v)
{
	return v <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(v - 1));
}

#endif
