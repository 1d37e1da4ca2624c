/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "proto/frame.h"
#include "unit/unit.h"

/* A header on the wire. */
static void wire_header(uint8_t type, uint32_t length, uint8_t ret[32])
{
	const struct frame f = {
		.type = type,
		.flags = 0x12,
		.length = length,
		.group = 0x0304,
		.conn = UINT64_C(0x0102030405060708),
		.offset = UINT64_C(0xfffefdfcfbfaf9f8),
		.ackd = 0x0a0b0c0d,
		.aux = 0xf0e0d0c0,
	};

	frame_encode(&f, ret);
}

START_TEST(test_encode_is_network_order)
{
	const uint8_t want[32] = {
		0,    0,    0x10, 0x20, /* length */
		17,   0x12, 0x03, 0x04, /* type, flags, group */
		1,    2,    3,	  4,	5,    6,    7,	  8, /* conn */
		0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8, /* offset */
		0x0a, 0x0b, 0x0c, 0x0d, /* ackd */
		0xf0, 0xe0, 0xd0, 0xc0, /* aux */
	};
	uint8_t wire[32];

	wire_header(FRAME_DATA, 0x1020, wire);
	ck_assert_mem_eq(wire, want, sizeof(want));
}
END_TEST

START_TEST(test_decode_gives_back_what_was_encoded)
{
	uint8_t wire[32];
	struct frame f;

	wire_header(FRAME_DATA, 77, wire);
	ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_BACKEND, 4096, &f), 0);
	ck_assert_uint_eq(f.length, 77);
	ck_assert_uint_eq(f.type, FRAME_DATA);
	ck_assert_uint_eq(f.flags, 0x12);
	ck_assert_uint_eq(f.group, 0x0304);
	ck_assert_uint_eq(f.conn, UINT64_C(0x0102030405060708));
	ck_assert_uint_eq(f.offset, UINT64_C(0xfffefdfcfbfaf9f8));
	ck_assert_uint_eq(f.ackd, 0x0a0b0c0d);
	ck_assert_uint_eq(f.aux, 0xf0e0d0c0);
}
END_TEST

/* One row of the type table, as decode must enforce it. */
static void check_type(uint8_t type, char dir, uint32_t min, uint32_t max)
{
	bool to_backend = dir == 'B' || dir == 'E';
	bool to_xtcpd = dir == 'X' || dir == 'E';
	uint8_t wire[32];
	struct frame f;

	wire_header(type, min, wire);
	ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_BACKEND,
				      FRAME_PAYLOAD_MAX, &f),
			 to_backend ? 0 : -EPROTO);
	ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_XTCPD, FRAME_PAYLOAD_MAX,
				      &f),
			 to_xtcpd ? 0 : -EPROTO);
	wire_header(type, max + 1, wire);
	ck_assert_int_eq(frame_decode(wire,
				      to_backend ? FRAME_SIDE_BACKEND
						 : FRAME_SIDE_XTCPD,
				      UINT32_MAX, &f),
			 -EMSGSIZE);
	if (min == 0)
		return;
	wire_header(type, min - 1, wire);
	ck_assert_int_eq(frame_decode(wire,
				      to_backend ? FRAME_SIDE_BACKEND
						 : FRAME_SIDE_XTCPD,
				      UINT32_MAX, &f),
			 -EMSGSIZE);
}

START_TEST(test_decode_checks_every_type_by_the_table)
{
#define F(name, number, dir, min, max, help) \
	check_type(number, #dir[0], min, max);
	FRAME_TYPES(F)
#undef F
}
END_TEST

START_TEST(test_decode_refuses_unknown_types)
{
	uint8_t wire[32];
	struct frame f;
	int known = 0;

	for (unsigned int type = 0; type < 256; type++) {
		wire_header((uint8_t)type, 64, wire);
		if (strcmp(frame_type_name((uint8_t)type), "unknown") != 0) {
			known++;
			continue;
		}
		ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_BACKEND, 4096,
					      &f),
				 -EPROTO);
		ck_assert_uint_eq(f.type, type);
	}
#define F(name, number, dir, min, max, help) known--;
	FRAME_TYPES(F)
#undef F
	ck_assert_int_eq(known, 0);
}
END_TEST

START_TEST(test_decode_holds_data_to_the_negotiated_payload)
{
	uint8_t wire[32];
	struct frame f;

	wire_header(FRAME_DATA, 4097, wire);
	ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_BACKEND, 4096, &f),
			 -EMSGSIZE);
	ck_assert_int_eq(frame_decode(wire, FRAME_SIDE_BACKEND, 4097, &f), 0);
}
END_TEST

START_TEST(test_conn_id_holds_its_parts)
{
	uint64_t id = frame_conn_id(0xfe, 0xabcdef, 0x12345678);

	ck_assert_uint_eq(id, UINT64_C(0xfeabcdef12345678));
	ck_assert_uint_eq(frame_conn_worker(id), 0xfe);
	ck_assert_uint_eq(frame_conn_generation(id), 0xabcdef);
	ck_assert_uint_eq(frame_conn_rec(id), 0x12345678);
}
END_TEST

START_TEST(test_send_limit_leaves_one_to_two_halves)
{
	const uint32_t half = 1000;

	for (uint64_t una = 0; una < 5000; una += 100) {
		uint64_t room = frame_send_limit(una, half) - una;

		ck_assert_uint_gt(room, half);
		ck_assert_uint_le(room, 2 * half);
	}
}
END_TEST

UNIT_MAIN("proto/frame",
	  UNIT_TESTS(test_encode_is_network_order,
		     test_decode_gives_back_what_was_encoded,
		     test_decode_checks_every_type_by_the_table,
		     test_decode_refuses_unknown_types,
		     test_decode_holds_data_to_the_negotiated_payload,
		     test_conn_id_holds_its_parts,
		     test_send_limit_leaves_one_to_two_halves))
