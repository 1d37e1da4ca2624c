/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_TOOLS_BULK_H
#define TESTS_TOOLS_BULK_H

/*
 * The protocol of bulkc and bulkd: one transfer per connection, one way.
 *
 *	client -> server	a request of BULK_HEAD_BYTES, then, for an upload,
 *				the bytes
 *	server -> client	for a download the bytes; for an upload, when all
 *				came or its time is over, a report of
 *				BULK_HEAD_BYTES
 *
 * All bytes are checked against the pattern of the request's seed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BULK_HEAD_BYTES 32u

struct bulk_request {
	bool upload;
	uint64_t bytes; /* 0: until the time is over */
	uint32_t ms; /* 0: until all bytes are there */
	uint64_t seed;
};

/* What came in, as the one who received it saw it. */
struct bulk_report {
	uint64_t bytes; /* in time */
	uint64_t total;
	uint64_t mismatches;
	uint64_t us; /* from the first byte: to the last, or all the time */
};

void bulk_request_write(const struct bulk_request *req,
			uint8_t out[BULK_HEAD_BYTES]);

/* Returns false when it is none. */
bool bulk_request_read(struct bulk_request *ret_req,
		       const uint8_t in[BULK_HEAD_BYTES]);

void bulk_report_write(const struct bulk_report *report,
		       uint8_t out[BULK_HEAD_BYTES]);
void bulk_report_read(struct bulk_report *ret_report,
		      const uint8_t in[BULK_HEAD_BYTES]);

uint64_t bulk_clock_ns(void);

/* --- who receives ---------------------------------------------------------- */

struct bulk_meter {
	uint64_t seed;
	uint64_t limit_ns; /* 0: none */
	uint64_t first_ns;
	struct bulk_report report;
};

/* Check and count n bytes that came at now_ns. */
void bulk_meter_take(struct bulk_meter *meter, const uint8_t *data, size_t n,
		     uint64_t now_ns);

/* Whether the time is over. */
bool bulk_meter_late(const struct bulk_meter *meter, uint64_t now_ns);

/* --- one connection of a server -------------------------------------------- */

struct bulk_conn {
	uint8_t head[BULK_HEAD_BYTES];
	size_t head_n;
	bool bad; /* no request: close it */
	struct bulk_request req;
	struct bulk_meter meter;
	bool report_due;
	uint8_t report[BULK_HEAD_BYTES];
	uint64_t sent;
};

/* Take what the client sent. */
void bulk_conn_take(struct bulk_conn *c, const uint8_t *data, size_t n,
		    uint64_t now_ns);

/*
 * What is to be sent next, at most size bytes, in ret_data; bulk_conn_gave()
 * says how much of it was. Returns its bytes, 0: nothing for now.
 */
size_t bulk_conn_give(struct bulk_conn *c, uint8_t *ret_data, size_t size);
void bulk_conn_gave(struct bulk_conn *c, size_t n);

/* All is sent, and nothing more will come that counts. */
bool bulk_conn_done(const struct bulk_conn *c);

#endif
