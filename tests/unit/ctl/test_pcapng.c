/* SPDX-License-Identifier: BSD-2-Clause */
/* Capture files, read back by libpcap and byte by byte. */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
#include "base/units.h"
#include "ctl/pcapng.h"

static char *bytes;
static size_t n_bytes;
static FILE *out;
static struct pcapng_interface interface;

static void up(void)
{
	out = open_memstream(&bytes, &n_bytes);
	interface = (struct pcapng_interface){
		.name = "xtcp0",
		.filter = "port 5222",
		.linktype = CAPTURE_LINKTYPE,
		.snaplen = 1000,
	};
}

static void down(void)
{
	fclose(out);
	free(bytes);
}

static uint32_t word(size_t at)
{
	uint32_t v;

	ck_assert_uint_le(at + 4, n_bytes);
	memcpy(&v, bytes + at, 4);
	return v;
}

/* Where block i begins; checks the lengths of all before. */
static size_t block(uint32_t i, uint32_t type)
{
	size_t at = 0;

	fflush(out);
	for (;; i--) {
		uint32_t len = word(at + 4);

		ck_assert_uint_eq(len % 4, 0);
		ck_assert_uint_eq(word(at + len - 4), len);
		if (i == 0)
			break;
		at += len;
	}
	ck_assert_uint_eq(word(at), type);
	return at;
}

/* An option behind `at`: where its value is. */
static size_t option(size_t at, uint16_t code, uint16_t *ret_len)
{
	for (;;) {
		uint16_t head[2];

		word(at);
		memcpy(head, bytes + at, 4);
		ck_assert_msg(head[0] != 0, "no option %u", code);
		*ret_len = head[1];
		if (head[0] == code)
			return at + 4;
		at += 4 + (size_t)round_up(head[1], 4);
	}
}

static void packet(uint8_t direction, const char *data, uint32_t original)
{
	const struct capture_packet p = {
		.at_ns = UINT64_C(1700000000123456789),
		.original_bytes = original,
		.worker = 3,
		.direction = direction,
	};

	ck_assert_int_eq(pcapng_packet(out, &p, data, (uint32_t)strlen(data)),
			 0);
}

START_TEST(test_pcapng_begins_with_section_and_interface)
{
	uint16_t len;
	size_t at;

	ck_assert_int_eq(pcapng_begin(out, "app 1", &interface), 0);
	at = block(0, 0x0a0d0d0a);
	ck_assert_uint_eq(word(at + 8), 0x1a2b3c4d);
	ck_assert_uint_eq(word(at + 12), 1); /* 1.0 */
	at = block(1, 1);
	ck_assert_uint_eq(word(at + 8), 101);
	ck_assert_uint_eq(word(at + 12), 1000);
	ck_assert_int_eq(memcmp(bytes + option(at + 16, 2, &len), "xtcp0", 5),
			 0);
	ck_assert_uint_eq(len, 5);
	ck_assert_int_eq(bytes[option(at + 16, 9, &len)], 9);
	ck_assert_int_eq(memcmp(bytes + option(at + 16, 11, &len),
				"\0port 5222", 10),
			 0);
	ck_assert_uint_eq(len, 10);
}
END_TEST

START_TEST(test_pcapng_packet_has_time_direction_and_queue)
{
	uint16_t len;
	size_t at;

	ck_assert_int_eq(pcapng_begin(out, "app", &interface), 0);
	packet(CAPTURE_IN, "hello", 1500);
	packet(CAPTURE_OUT, "12345678", 8);
	at = block(2, 6);
	ck_assert_uint_eq((uint64_t)word(at + 12) << 32 | word(at + 16),
			  UINT64_C(1700000000123456789));
	ck_assert_uint_eq(word(at + 20), 5);
	ck_assert_uint_eq(word(at + 24), 1500);
	ck_assert_int_eq(memcmp(bytes + at + 28, "hello\0\0\0", 8), 0);
	ck_assert_uint_eq(word(option(at + 36, 2, &len)), 1);
	ck_assert_uint_eq(word(option(at + 36, 6, &len)), 3);
	at = block(3, 6);
	ck_assert_uint_eq(word(option(at + 36, 2, &len)), 2);
}
END_TEST

START_TEST(test_pcapng_end_has_the_counts)
{
	const struct capture_end end = { .seen = UINT64_C(1) << 40,
					 .matched = 50,
					 .dropped = 7,
					 .delivered = 43 };
	uint16_t len;
	size_t at;

	ck_assert_int_eq(pcapng_begin(out, "app", &interface), 0);
	ck_assert_int_eq(pcapng_end(out, &end, 5), 0);
	at = block(2, 5) + 20;
	ck_assert_uint_eq(word(option(at, 4, &len) + 4), 1u << 8);
	ck_assert_uint_eq(len, 8);
	ck_assert_uint_eq(word(option(at, 6, &len)), 50);
	ck_assert_uint_eq(word(option(at, 7, &len)), 7);
	ck_assert_uint_eq(word(option(at, 8, &len)), 43);
}
END_TEST

START_TEST(test_pcapng_is_read_by_libpcap)
{
	const struct capture_end end = { .seen = 2 };
	char why[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *head;
	const u_char *data;
	pcap_t *p;
	FILE *in;

	ck_assert_int_eq(pcapng_begin(out, "app", &interface), 0);
	packet(CAPTURE_IN, "abc", 3);
	packet(CAPTURE_OUT, "defgh", 99);
	ck_assert_int_eq(pcapng_end(out, &end, 5), 0);
	fflush(out);
	in = fmemopen(bytes, n_bytes, "rb");
	p = pcap_fopen_offline_with_tstamp_precision(
		in, PCAP_TSTAMP_PRECISION_NANO, why);
	ck_assert_msg(p != NULL, "%s", why);
	ck_assert_int_eq(pcap_datalink(p), DLT_RAW);
	ck_assert_int_eq(pcap_next_ex(p, &head, &data), 1);
	ck_assert_int_eq(head->ts.tv_sec, 1700000000);
	ck_assert_int_eq(head->ts.tv_usec, 123456789); /* nanoseconds */
	ck_assert_uint_eq(head->caplen, 3);
	ck_assert_int_eq(memcmp(data, "abc", 3), 0);
	ck_assert_int_eq(pcap_next_ex(p, &head, &data), 1);
	ck_assert_uint_eq(head->len, 99);
	ck_assert_int_eq(pcap_next_ex(p, &head, &data), PCAP_ERROR_BREAK);
	pcap_close(p);
}
END_TEST

START_TEST(test_pcapng_of_long_texts_is_whole)
{
	char text[9000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	interface.name = interface.filter = text;
	ck_assert_int_eq(pcapng_begin(out, text, &interface), 0);
	packet(CAPTURE_IN, "abc", 3);
	block(2, 6);
}
END_TEST

START_TEST(test_pcapng_says_that_it_could_not_write)
{
	FILE *full = fopen("/dev/full", "wb");
	int err;

	setvbuf(full, NULL, _IONBF, 0);
	err = pcapng_begin(full, "app", &interface);
	ck_assert_int_lt(err, 0);
	fclose(full);
}
END_TEST

UNIT_MAIN("ctl/pcapng",
	  UNIT_CASE("all", up, down,
		    test_pcapng_begins_with_section_and_interface,
		    test_pcapng_packet_has_time_direction_and_queue,
		    test_pcapng_end_has_the_counts,
		    test_pcapng_is_read_by_libpcap,
		    test_pcapng_of_long_texts_is_whole,
		    test_pcapng_says_that_it_could_not_write))
