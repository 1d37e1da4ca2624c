/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/cursor.h"

#include "base/bytes.h"

#include <string.h>

void cursor_init(struct cursor *c, const void *data, size_t len)
{
	static const uint8_t nothing;

	c->pos = data ? data : &nothing;
	c->end = c->pos + len;
	c->failed = false;
}

bool cursor_ok(const struct cursor *c)
{
	return !c->failed;
}

size_t cursor_remaining(const struct cursor *c)
{
	return c->failed ? 0 : (size_t)(c->end - c->pos);
}

void cursor_fail(struct cursor *c)
{
	c->failed = true;
}

const uint8_t *cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *p = c->pos;

	if (c->failed || (size_t)(c->end - c->pos) < len) {
		c->failed = true;
		return NULL;
	}
	c->pos += len;
	return p;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 1);

	return p ? *p : 0;
}

uint16_t cursor_be16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p ? be16_load(p) : 0;
}

uint32_t cursor_be32(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 4);

	return p ? be32_load(p) : 0;
}

uint64_t cursor_be64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p ? be64_load(p) : 0;
}

bool cursor_copy(struct cursor *c, void *ret_data, size_t len)
{
	const uint8_t *p = cursor_bytes(c, len);

	if (!p)
		return false;
	if (len > 0)
		memcpy(ret_data, p, len);
	return true;
}

bool cursor_skip(struct cursor *c, size_t len)
{
	return cursor_bytes(c, len) != NULL;
}

bool cursor_sub(struct cursor *c, size_t len, struct cursor *ret_sub)
{
	const uint8_t *p = cursor_bytes(c, len);

	cursor_init(ret_sub, p, p ? len : 0);
	ret_sub->failed = p == NULL;
	return p != NULL;
}

void wcursor_init(struct wcursor *w, void *buf, size_t size)
{
	static uint8_t nothing;

	w->start = buf ? buf : &nothing;
	w->pos = w->start;
	w->end = w->start + size;
	w->failed = false;
}

bool wcursor_ok(const struct wcursor *w)
{
	return !w->failed;
}

size_t wcursor_remaining(const struct wcursor *w)
{
	return w->failed ? 0 : (size_t)(w->end - w->pos);
}

size_t wcursor_written(const struct wcursor *w)
{
	return (size_t)(w->pos - w->start);
}

/* Takes the next @len bytes, with whatever is in them; NULL when full. */
static uint8_t *wcursor_take(struct wcursor *w, size_t len)
{
	uint8_t *p = w->pos;

	if (w->failed || (size_t)(w->end - w->pos) < len) {
		w->failed = true;
		return NULL;
	}
	w->pos += len;
	return p;
}

void wcursor_u8(struct wcursor *w, uint8_t v)
{
	uint8_t *p = wcursor_take(w, 1);

	if (p)
		*p = v;
}

void wcursor_be16(struct wcursor *w, uint16_t v)
{
	uint8_t *p = wcursor_take(w, 2);

	if (p)
		be16_store(p, v);
}

void wcursor_be32(struct wcursor *w, uint32_t v)
{
	uint8_t *p = wcursor_take(w, 4);

	if (p)
		be32_store(p, v);
}

void wcursor_be64(struct wcursor *w, uint64_t v)
{
	uint8_t *p = wcursor_take(w, 8);

	if (p)
		be64_store(p, v);
}

void wcursor_bytes(struct wcursor *w, const void *data, size_t len)
{
	uint8_t *p = wcursor_take(w, len);

	if (p && len > 0)
		memcpy(p, data, len);
}

void wcursor_zero(struct wcursor *w, size_t len)
{
	wcursor_reserve(w, len);
}

uint8_t *wcursor_reserve(struct wcursor *w, size_t len)
{
	uint8_t *p = wcursor_take(w, len);

	if (p)
		memset(p, 0, len);
	return p;
}
