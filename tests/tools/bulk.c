/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/bulk.h"

#include <endian.h>
#include <string.h>
#include <time.h>

#include "tools/pattern.h"

#define BULK_MAGIC 0x62756c6bu /* "bulk" */
#define BULK_UPLOAD 1u
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_USEC 1000ull

struct wire_request {
	uint32_t magic, upload, ms, zero;
	uint64_t bytes, seed;
};
_Static_assert(sizeof(struct wire_request) == BULK_HEAD_BYTES, "wire");

struct wire_report {
	uint64_t bytes, total, mismatches, us;
};
_Static_assert(sizeof(struct wire_report) == BULK_HEAD_BYTES, "wire");

void bulk_request_write(const struct bulk_request *req,
			uint8_t out[BULK_HEAD_BYTES])
{
	struct wire_request w = {
		.magic = htobe32(BULK_MAGIC),
		.upload = htobe32(req->upload ? BULK_UPLOAD : 0),
		.ms = htobe32(req->ms),
		.bytes = htobe64(req->bytes),
		.seed = htobe64(req->seed),
	};

	memcpy(out, &w, sizeof(w));
}

bool bulk_request_read(struct bulk_request *ret_req,
		       const uint8_t in[BULK_HEAD_BYTES])
{
	struct wire_request w;

	memcpy(&w, in, sizeof(w));
	*ret_req = (struct bulk_request){
		.upload = be32toh(w.upload) == BULK_UPLOAD,
		.ms = be32toh(w.ms),
		.bytes = be64toh(w.bytes),
		.seed = be64toh(w.seed),
	};
	return be32toh(w.magic) == BULK_MAGIC;
}

void bulk_report_write(const struct bulk_report *report,
		       uint8_t out[BULK_HEAD_BYTES])
{
	struct wire_report w = {
		.bytes = htobe64(report->bytes),
		.total = htobe64(report->total),
		.mismatches = htobe64(report->mismatches),
		.us = htobe64(report->us),
	};

	memcpy(out, &w, sizeof(w));
}

void bulk_report_read(struct bulk_report *ret_report,
		      const uint8_t in[BULK_HEAD_BYTES])
{
	struct wire_report w;

	memcpy(&w, in, sizeof(w));
	*ret_report = (struct bulk_report){
		.bytes = be64toh(w.bytes),
		.total = be64toh(w.total),
		.mismatches = be64toh(w.mismatches),
		.us = be64toh(w.us),
	};
}

uint64_t bulk_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* --- who receives ---------------------------------------------------------- */

bool bulk_meter_late(const struct bulk_meter *meter, uint64_t now_ns)
{
	return meter->limit_ns && meter->first_ns &&
	       now_ns - meter->first_ns >= meter->limit_ns;
}

void bulk_meter_take(struct bulk_meter *meter, const uint8_t *data, size_t n,
		     uint64_t now_ns)
{
	struct bulk_report *r = &meter->report;

	if (!n)
		return;
	if (!meter->first_ns)
		meter->first_ns = now_ns;
	r->mismatches += pattern_mismatches(meter->seed, r->total, data, n);
	r->total += n;
	if (bulk_meter_late(meter, now_ns)) {
		r->us = meter->limit_ns / NSEC_PER_USEC;
		return;
	}
	r->bytes += n;
	r->us = (now_ns - meter->first_ns) / NSEC_PER_USEC;
}

/* --- one connection of a server -------------------------------------------- */

static void conn_begin(struct bulk_conn *c)
{
	if (!bulk_request_read(&c->req, c->head)) {
		c->bad = true;
		return;
	}
	c->meter = (struct bulk_meter){
		.seed = c->req.seed,
		.limit_ns = c->req.ms * NSEC_PER_MSEC,
	};
}

void bulk_conn_take(struct bulk_conn *c, const uint8_t *data, size_t n,
		    uint64_t now_ns)
{
	size_t part = BULK_HEAD_BYTES - c->head_n;

	if (part > 0) {
		part = part < n ? part : n;
		memcpy(c->head + c->head_n, data, part);
		c->head_n += part;
		if (c->head_n == BULK_HEAD_BYTES)
			conn_begin(c);
		data += part;
		n -= part;
	}
	if (c->bad || c->head_n < BULK_HEAD_BYTES || !c->req.upload)
		return;
	bulk_meter_take(&c->meter, data, n, now_ns);
	if (c->report_due)
		return;
	c->report_due = bulk_meter_late(&c->meter, now_ns) ||
			(c->req.bytes && c->meter.report.total >= c->req.bytes);
	if (c->report_due)
		bulk_report_write(&c->meter.report, c->report);
}

size_t bulk_conn_give(struct bulk_conn *c, uint8_t *ret_data, size_t size)
{
	size_t n = 0;

	if (c->bad || c->head_n < BULK_HEAD_BYTES)
		return 0;
	if (!c->req.upload) {
		n = size;
		if (c->req.bytes && c->req.bytes - c->sent < n)
			n = (size_t)(c->req.bytes - c->sent);
		pattern_fill(c->req.seed, c->sent, ret_data, n);
	} else if (c->report_due) {
		n = BULK_HEAD_BYTES - (size_t)c->sent;
		n = n < size ? n : size;
		memcpy(ret_data, c->report + c->sent, n);
	}
	return n;
}

void bulk_conn_gave(struct bulk_conn *c, size_t n)
{
	c->sent += n;
}

bool bulk_conn_done(const struct bulk_conn *c)
{
	if (c->bad)
		return true;
	/* an upload of a time goes on until the client has heard of its end */
	if (c->req.upload)
		return c->req.bytes && c->sent == BULK_HEAD_BYTES;
	return c->req.bytes && c->sent == c->req.bytes;
}
