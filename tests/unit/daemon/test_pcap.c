/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"
#include "daemon/pcap.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <sys/stat.h>

static uint8_t file[1024 * 1024];
static unsigned int warnings;

static size_t slurp(const char *path)
{
	FILE *fp = fopen(path, "r");
	size_t n;

	ck_assert_ptr_nonnull(fp);
	n = fread(file, 1, sizeof(file), fp);
	fclose(fp);
	return n;
}

static uint32_t u32(size_t at)
{
	uint32_t v;

	memcpy(&v, file + at, sizeof(v));
	return v;
}

static void put(struct pcap *p, const char *a, const char *b, uint64_t now_ns)
{
	const struct iovec iov[] = { { (char *)(uintptr_t)a, strlen(a) },
				     { (char *)(uintptr_t)b, strlen(b) } };

	pcap_write(p, iov, 2, now_ns);
}

START_TEST(test_pcap_file_is_classic_raw_with_nanoseconds)
{
	const char *path = scratch_path("a.pcap");
	struct pcap *p;
	struct stat st;

	ck_assert_int_eq(pcap_open(&p, path, 0), 0);
	put(p, "head", "payload", 5 * NSEC_PER_SEC + 7);
	put(p, "x", "", UINT64_C(4000000000) * NSEC_PER_SEC);
	pcap_flush(p);
	ck_assert_uint_eq(slurp(path), 24 + 16 + 11 + 16 + 1);
	ck_assert_uint_eq(u32(0), 0xa1b23c4d);
	ck_assert_uint_eq(u32(4), 2 | 4 << 16);
	ck_assert_uint_eq(u32(20), 101);
	ck_assert_uint_eq(u32(24), 5);
	ck_assert_uint_eq(u32(28), 7);
	ck_assert_uint_eq(u32(32), 11);
	ck_assert_uint_eq(u32(36), 11);
	ck_assert_mem_eq(file + 40, "headpayload", 11);
	ck_assert_uint_eq(u32(51), 4000000000u);
	pcap_close(p);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(test_pcap_each_worker_has_a_file_of_its_own)
{
	struct pcap *p[2];

	ck_assert_int_eq(pcap_open(&p[0], scratch_path("w.pcap"), 0), 0);
	ck_assert_int_eq(pcap_open(&p[1], scratch_path("w.pcap"), 1), 0);
	put(p[1], "one", "", 0);
	pcap_close(p[0]);
	pcap_close(p[1]);
	pcap_close(NULL);
	ck_assert_uint_eq(slurp(scratch_path("w.pcap")), 24);
	ck_assert_uint_eq(slurp(scratch_path("w.pcap.1")), 24 + 16 + 3);
}
END_TEST

START_TEST(test_pcap_buffer_is_written_when_full_and_nothing_is_lost)
{
	static char big[65536];
	const struct iovec iov = { big, 65535 };
	struct pcap *p;

	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(pcap_open(&p, scratch_path("big.pcap"), 0), 0);
	for (int i = 0; i < 10; i++)
		pcap_write(p, &iov, 1, 0);
	pcap_close(p);
	ck_assert_uint_eq(slurp(scratch_path("big.pcap")),
			  24 + 10 * (16 + 65535));
	for (size_t i = 0; i < 10; i++)
		ck_assert_uint_eq(u32(24 + i * (16 + 65535) + 8), 65535);
}
END_TEST

START_TEST(test_pcap_cannot_be_opened)
{
	struct pcap *p;

	ck_assert_int_eq(pcap_open(&p, "/nonexistent/x.pcap", 0), -ENOENT);
}
END_TEST

static void count_warnings(void *ctx, enum log_level level, const char *line,
			   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)fields;
	(void)n;
	ck_assert_int_eq(level, LOG_LEVEL_WARN);
	ck_assert_ptr_nonnull(strstr(line, "No space left"));
	warnings++;
}

START_TEST(test_pcap_full_disk_is_one_warning)
{
	struct pcap *p;

	log_set_sink(count_warnings, NULL);
	ck_assert_int_eq(pcap_open(&p, "/dev/full", 0), 0);
	for (int i = 0; i < 3; i++) {
		put(p, "packet", "", 0);
		pcap_flush(p);
	}
	pcap_close(p);
	ck_assert_uint_eq(warnings, 1);
}
END_TEST

UNIT_MAIN("daemon/pcap",
	  UNIT_CASE("all", scratch_setup, scratch_teardown,
		    test_pcap_file_is_classic_raw_with_nanoseconds,
		    test_pcap_each_worker_has_a_file_of_its_own,
		    test_pcap_buffer_is_written_when_full_and_nothing_is_lost,
		    test_pcap_cannot_be_opened,
		    test_pcap_full_disk_is_one_warning))
