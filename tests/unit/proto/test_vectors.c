/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tests/vectors/frames.txt, which says itself what its lines mean: what is
 * encoded from the fields are the bytes, what is decoded from the bytes are the
 * fields, and what is to be refused is refused for the reason given.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/stream.h"
#include "unit/unit.h"

#define VEC_BYTES 8192
#define VEC_FIELDS 64

struct vec_field {
	char key[32];
	char value[48];
};

struct vec {
	char name[64];
	enum frame_side side;
	uint32_t max_payload;
	char refuse[16]; /* "": it is taken */
	uint8_t bytes[VEC_BYTES], data[VEC_BYTES];
	size_t n_bytes, n_data;
	struct vec_field fields[VEC_FIELDS];
	size_t n_fields;
};

/* Where a field of a payload stands. */
struct vec_place {
	const char *key;
	size_t offset, size;
	size_t all; /* bytes of the structure */
};

#define P(prefix, member)                                                \
	{                                                                \
		.key = #prefix "." #member,                              \
		.offset = offsetof(struct frame_##prefix, member),       \
		.size = sizeof(((struct frame_##prefix *)NULL)->member), \
		.all = sizeof(struct frame_##prefix),                    \
	}
static const struct vec_place places[] = {
	P(hello, magic),	 P(hello, version),	P(hello, flags),
	P(hello, workers),	 P(hello, worker),	P(hello, max_payload),
	P(hello, stream_credit), P(hello, conn_window), P(hello, instance),
	P(hello, pid),		 P(hello, epoch),	P(attach, port),
	P(attach, family),	 P(attach, flags),	P(attach, priority),
	P(attach, pool_bytes),	 P(addr, family),	P(addr, remote_port),
	P(addr, local_port),	 P(addr, remote),	P(addr, local),
	P(addr, send_offset),
};
#undef P

/* --- the file --- */

static FILE *vec_open(void)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/vectors/frames.txt",
		 srcdir ? srcdir : ".");
	file = fopen(path, "r");
	ck_assert_msg(file, "%s: %s (is srcdir the tree?)", path,
		      strerror(errno));
	return file;
}

static size_t vec_hex(const char *hex, uint8_t *ret, size_t size)
{
	size_t n = strlen(hex) / 2;

	ck_assert_uint_le(n, size);
	for (size_t i = 0; i < n; i++) {
		unsigned int byte;

		ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
		ret[i] = (uint8_t)byte;
	}
	return n;
}

static void vec_line(struct vec *v, const char *key, const char *value)
{
	if (!strcmp(key, "to")) {
		v->side = strcmp(value, "xtcpd") ? FRAME_SIDE_BACKEND
						 : FRAME_SIDE_XTCPD;
	} else if (!strcmp(key, "max_payload")) {
		v->max_payload = (uint32_t)strtoul(value, NULL, 0);
	} else if (!strcmp(key, "refuse")) {
		snprintf(v->refuse, sizeof(v->refuse), "%s", value);
	} else if (!strcmp(key, "bytes")) {
		v->n_bytes += vec_hex(value, v->bytes + v->n_bytes,
				      VEC_BYTES - v->n_bytes);
	} else if (!strcmp(key, "data")) {
		v->n_data += vec_hex(value, v->data + v->n_data,
				     VEC_BYTES - v->n_data);
	} else {
		struct vec_field *field = &v->fields[v->n_fields++];

		ck_assert_uint_lt(v->n_fields, VEC_FIELDS);
		snprintf(field->key, sizeof(field->key), "%s", key);
		snprintf(field->value, sizeof(field->value), "%s", value);
	}
}

/* The next case of the file. */
static bool vec_next(FILE *file, struct vec *v)
{
	char line[256], key[32], value[160];

	*v = (struct vec){ .max_payload = FRAME_PAYLOAD_MAX };
	while (fgets(line, sizeof(line), file)) {
		int n = sscanf(line, "%31s %159[^\n]", key, value);

		if (n < 1 || key[0] == '#' || !strcmp(key, "limit"))
			continue;
		if (!strcmp(key, "end"))
			return true;
		if (n == 1)
			value[0] = '\0';
		if (!strcmp(key, "frame"))
			snprintf(v->name, sizeof(v->name), "%.63s", value);
		else
			vec_line(v, key, value);
	}
	return false;
}

/* --- fields --- */

/* The value of a key, or NULL. */
static const char *vec_find(const struct vec *v, const char *key)
{
	for (size_t i = 0; i < v->n_fields; i++) {
		if (!strcmp(v->fields[i].key, key))
			return v->fields[i].value;
	}
	return NULL;
}

static const char *vec_value(const struct vec *v, const char *key)
{
	const char *value = vec_find(v, key);

	ck_assert_msg(value, "%s: no %s", v->name, key);
	return value;
}

static uint64_t vec_number(const struct vec *v, const char *key)
{
	const char *value = vec_value(v, key);

	/* A type is a name and the number. */
	if (!strcmp(key, "type"))
		value = strchr(value, ' ');
	ck_assert_msg(value, "%s: type without a number", v->name);
	return strtoull(value, NULL, 0);
}

static struct frame vec_header(const struct vec *v)
{
	return (struct frame){
		.length = (uint32_t)vec_number(v, "length"),
		.type = (uint8_t)vec_number(v, "type"),
		.flags = (uint8_t)vec_number(v, "flags"),
		.group = (uint16_t)vec_number(v, "group"),
		.conn = vec_number(v, "conn"),
		.offset = vec_number(v, "offset"),
		.ackd = (uint32_t)vec_number(v, "ackd"),
		.aux = (uint32_t)vec_number(v, "aux"),
	};
}

/* The payload that the fields describe. Returns its bytes. */
static size_t vec_payload(const struct vec *v, uint8_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const struct vec_place *p = &places[i];
		uint64_t number;

		if (!vec_find(v, p->key))
			continue;
		n = p->all;
		if (p->size == 16) {
			vec_hex(vec_value(v, p->key), ret + p->offset, 16);
			continue;
		}
		number = vec_number(v, p->key);
		for (size_t b = 0; b < p->size; b++)
			ret[p->offset + b] =
				(uint8_t)(number >> 8 * (p->size - 1 - b));
	}
	memcpy(ret + n, v->data, v->n_data);
	return n + v->n_data;
}

/* --- the checks --- */

static void check_encoding(const struct vec *v)
{
	const struct frame f = vec_header(v);
	uint8_t wire[VEC_BYTES + FRAME_HEADER_BYTES] = { 0 };
	size_t n;

	frame_encode(&f, wire);
	n = vec_payload(v, wire + FRAME_HEADER_BYTES);
	ck_assert_msg(n == f.length, "%s: %zu bytes of payload", v->name, n);
	ck_assert_msg(n + FRAME_HEADER_BYTES == v->n_bytes &&
			      !memcmp(wire, v->bytes, v->n_bytes),
		      "%s: other bytes", v->name);
}

/* What is to be checked of a payload by its type. */
static int check_payload(const struct vec *v, const struct frame *f,
			 const uint8_t *payload)
{
	struct frame_hello hello;

	if (f->type == FRAME_HELLO) {
		memcpy(&hello, payload, sizeof(hello));
		return frame_hello_check(&hello, v->side);
	}
	if (f->type == FRAME_OPEN || f->flags & FRAME_F_FIRST)
		return frame_addr_check(payload, f->length);
	return 0;
}

static void check_decoding(const struct vec *v, const struct frame *f)
{
	const struct frame want = vec_header(v);
	const char *name = frame_type_name(f->type);

	ck_assert_msg(!strncmp(vec_value(v, "type"), name, strlen(name)),
		      "%s: type %s", v->name, name);
	ck_assert_msg(f->length == want.length && f->type == want.type &&
			      f->flags == want.flags &&
			      f->group == want.group && f->conn == want.conn &&
			      f->offset == want.offset &&
			      f->ackd == want.ackd && f->aux == want.aux,
		      "%s: other fields", v->name);
}

/* Puts the bytes into a reader, the last step of them last. */
static int vec_read(const struct vec *v, size_t step, struct frame *ret_f)
{
	const uint8_t *payload;
	struct frame_reader r;
	size_t at = 0;
	int rc = 0;

	frame_reader_init(&r, v->side, v->max_payload);
	do {
		size_t n = min_size(step, v->n_bytes - at);

		ck_assert_int_eq(rc, 0);
		ck_assert_int_eq(frame_reader_feed(&r, v->bytes + at, n), 0);
		at += n;
		rc = frame_reader_next(&r, ret_f, &payload);
	} while (rc == 0 && at < v->n_bytes);
	if (rc == 1) {
		ck_assert_mem_eq(payload, v->bytes + FRAME_HEADER_BYTES,
				 ret_f->length);
		ck_assert_uint_eq(at, v->n_bytes);
		rc = check_payload(v, ret_f, payload);
		rc = rc < 0 ? rc : 1;
	}
	frame_reader_fini(&r);
	return rc;
}

static void check_refusal(const struct vec *v, int rc)
{
	int want = !strcmp(v->refuse, "EPROTO")	    ? -EPROTO
		   : !strcmp(v->refuse, "EMSGSIZE") ? -EMSGSIZE
						    : 0;

	ck_assert_msg(want || !strcmp(v->refuse, "nothing-yet"),
		      "%s: refuse what?", v->name);
	ck_assert_msg(rc == want, "%s: %d, not %s", v->name, rc, v->refuse);
}

START_TEST(test_every_vector_is_as_it_says)
{
	static const size_t steps[] = { 1, 31, VEC_BYTES };
	static struct vec v;
	FILE *file = vec_open();
	int taken = 0, refused = 0;

	while (vec_next(file, &v)) {
		for (size_t i = 0; i < 3; i++) {
			struct frame f = { 0 };
			int rc = vec_read(&v, steps[i], &f);

			if (v.refuse[0]) {
				check_refusal(&v, rc);
				continue;
			}
			ck_assert_msg(rc == 1, "%s: %d", v.name, rc);
			check_decoding(&v, &f);
		}
		if (v.refuse[0]) {
			refused++;
			continue;
		}
		taken++;
		check_encoding(&v);
	}
	fclose(file);
	ck_assert_int_gt(taken, 30);
	ck_assert_int_gt(refused, 30);
}
END_TEST

START_TEST(test_every_type_has_a_vector_in_each_direction)
{
	static struct vec v;
	bool seen[2][64] = { 0 };
	FILE *file = vec_open();

	while (vec_next(file, &v)) {
		if (!v.refuse[0])
			seen[v.side == FRAME_SIDE_XTCPD]
			    [vec_number(&v, "type")] = true;
	}
	fclose(file);
#define F(name, number, dir, min, max, help)                             \
	ck_assert_msg(seen[0][number] == (#dir[0] != 'X'), "%s", #name); \
	ck_assert_msg(seen[1][number] == (#dir[0] != 'B'), "%s", #name);
	FRAME_TYPES(F)
#undef F
}
END_TEST

START_TEST(test_every_limit_is_as_it_says)
{
	unsigned long long una, limit;
	unsigned int half;
	char line[256];
	FILE *file = vec_open();
	int n = 0;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "limit %llu %u %llu", &una, &half, &limit) !=
		    3)
			continue;
		ck_assert_uint_eq(frame_send_limit(una, half), limit);
		n++;
	}
	fclose(file);
	ck_assert_int_gt(n, 5);
}
END_TEST

UNIT_MAIN("proto/vectors",
	  UNIT_TESTS(test_every_vector_is_as_it_says,
		     test_every_type_has_a_vector_in_each_direction,
		     test_every_limit_is_as_it_says))
