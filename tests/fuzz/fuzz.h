/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz - what all fuzz targets share.
 *
 * A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput(): a function of
 * its input alone, without clock, randomness or state that outlives the call,
 * so that a finding repeats. It is linked with libFuzzer (--enable-fuzzers)
 * or with replay.c, which runs files, and inputs made from a seed.
 */
#ifndef XTCP_TESTS_FUZZ_H
#define XTCP_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A target may have it: called once, before the first input. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Something that must hold doesn't: says what and where, and aborts. */
#define FUZZ_CHECK(cond, ...)                                                  \
	do {                                                                   \
		if (__builtin_expect(!(cond), 0))                              \
			fuzz_fail(__FILE__, __LINE__, #cond, " " __VA_ARGS__); \
	} while (0)

__attribute__((noreturn, cold, format(printf, 4, 5))) void
fuzz_fail(const char *file, int line, const char *what, const char *fmt, ...);

/*
 * With FUZZ_VERBOSE in the environment, what happens is told on stderr: for
 * people who look into a finding.
 */
extern bool fuzz_verbose;

#define FUZZ_SAY(...)                                  \
	do {                                           \
		if (__builtin_expect(fuzz_verbose, 0)) \
			fuzz_say(__VA_ARGS__);         \
	} while (0)

__attribute__((cold, format(printf, 1, 2))) void fuzz_say(const char *fmt, ...);

/* What is logged from here on is looked at for a line's form, and dropped. */
void fuzz_no_log(void);

/* The rest of an input; what is taken beyond its end is 0. */
struct fuzz_in {
	const uint8_t *at, *end;
};

static inline struct fuzz_in fuzz_in(const uint8_t *data, size_t size)
{
	return (struct fuzz_in){ data, size ? data + size : data };
}

static inline size_t fuzz_left(const struct fuzz_in *in)
{
	return (size_t)(in->end - in->at);
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint32_t hi = fuzz_u8(in);

	return (uint16_t)(hi << 8 | fuzz_u8(in));
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
	uint32_t hi = fuzz_u16(in);

	return hi << 16 | fuzz_u16(in);
}

/* Up to n bytes, borrowed from the input; returns how many. */
static inline size_t fuzz_take(struct fuzz_in *in, size_t n,
			       const uint8_t **ret_bytes)
{
	if (n > fuzz_left(in))
		n = fuzz_left(in);
	*ret_bytes = in->at;
	in->at += n;
	return n;
}

#endif
