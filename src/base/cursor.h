/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_CURSOR_H
#define XTCP_BASE_CURSOR_H

/*
 * Bounds-checked cursors over bytes, one to read and one to write.
 *
 * The error is sticky: a step that does not fit moves nothing and marks the
 * cursor failed; from then on every read gives zero, every write does
 * nothing, and `_remaining()` is 0. So a parser reads all its fields and asks
 * once, at the end, whether all of them were there.
 *
 * Both cursors borrow the bytes that they were set on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *pos;
	const uint8_t *end;
	bool failed;
};

/* Starts reading the @len bytes at @data; NULL only with 0. */
void cursor_init(struct cursor *c, const void *data, size_t len);

/* Whether every step so far was inside the bytes. */
bool cursor_ok(const struct cursor *c);

/* How many bytes are left to read. */
size_t cursor_remaining(const struct cursor *c);

/* Marks the cursor failed: for a value that was there, but makes no sense. */
void cursor_fail(struct cursor *c);

/* The next integer, in network byte order where it has one; 0 on failure. */
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);

/* Where the next @len bytes are, which are passed over; NULL on failure. */
const uint8_t *cursor_bytes(struct cursor *c, size_t len);

/* Copies the next @len bytes to @ret_data, which failure leaves untouched. */
bool cursor_copy(struct cursor *c, void *ret_data, size_t len);

/* Passes over @len bytes. Returns whether they were there. */
bool cursor_skip(struct cursor *c, size_t len);

/*
 * Splits off the next @len bytes as a cursor of their own, e.g. the options
 * of a header; on failure @ret_sub is a failed, empty cursor.
 */
bool cursor_sub(struct cursor *c, size_t len, struct cursor *ret_sub);

struct wcursor {
	uint8_t *start;
	uint8_t *pos;
	uint8_t *end;
	bool failed;
};

/* Starts writing into the @size bytes at @buf; NULL only with 0. */
void wcursor_init(struct wcursor *w, void *buf, size_t size);

/* Whether everything so far did fit. */
bool wcursor_ok(const struct wcursor *w);

/* How many bytes are still free. */
size_t wcursor_remaining(const struct wcursor *w);

/* How many bytes were written; what was there when a step failed counts. */
size_t wcursor_written(const struct wcursor *w);

/* Appends an integer, in network byte order where it has one. */
void wcursor_u8(struct wcursor *w, uint8_t v);
void wcursor_be16(struct wcursor *w, uint16_t v);
void wcursor_be32(struct wcursor *w, uint32_t v);
void wcursor_be64(struct wcursor *w, uint64_t v);

/* Appends the @len bytes at @data; NULL only with 0. */
void wcursor_bytes(struct wcursor *w, const void *data, size_t len);

/* Appends @len zero bytes. */
void wcursor_zero(struct wcursor *w, size_t len);

/*
 * Leaves room for @len bytes, to be filled in later (a length that is known
 * at the end). Returns where they are, zeroed; NULL on failure.
 */
uint8_t *wcursor_reserve(struct wcursor *w, size_t len);

#endif
