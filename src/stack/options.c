/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/options.h"

#include <string.h>

#include "base/bytes.h"

enum opt_kind {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_OK = 4,
	OPT_SACK = 5,
	OPT_TS = 8,
};

/* RFC 2018 section 3: one to four blocks. It is advice: a bad one is ignored. */
static void options_take_sacks(const uint8_t *opt, uint8_t len,
			       struct seg_opts *o)
{
	uint8_t n = (uint8_t)((len - 2) / 8);

	if (len != 2 + 8 * n || n > SEG_SACKS_MAX)
		return;
	o->n_sacks = n;
	for (uint8_t i = 0; i < n; i++) {
		o->sacks[i].start = be32_load(opt + 2 + 8 * i);
		o->sacks[i].end = be32_load(opt + 6 + 8 * i);
	}
}

/* One option of a known kind; len counts kind and length. */
static bool options_take(const uint8_t *opt, uint8_t len, struct seg_opts *o)
{
	switch (opt[0]) {
	case OPT_MSS:
		o->has_mss = true;
		o->mss = len == 4 ? be16_load(opt + 2) : 0;
		return len == 4;
	case OPT_WSCALE:
		o->has_wscale = true;
		/* RFC 7323 2.3: a larger shift than 14 counts as 14. */
		o->wscale = len == 3 && opt[2] <= TCP_WSCALE_MAX
				    ? opt[2]
				    : TCP_WSCALE_MAX;
		return len == 3;
	case OPT_SACK_OK:
		o->sack_ok = true;
		return len == 2;
	case OPT_SACK:
		options_take_sacks(opt, len, o);
		return true;
	case OPT_TS:
		if (len != 10)
			return false;
		o->has_ts = true;
		o->tsval = be32_load(opt + 2);
		o->tsecr = be32_load(opt + 6);
		return true;
	default:
		return true;
	}
}

/* RFC 7323 appendix A: what most segments carry, and nothing else. */
static bool options_is_timestamp(const uint8_t *bytes, size_t len)
{
	return len == 12 && be32_load(bytes) == (OPT_NOP << 24 | OPT_NOP << 16 |
						 OPT_TS << 8 | 10);
}

bool options_parse(const uint8_t *bytes, size_t len, struct seg_opts *ret_opts)
{
	size_t i = 0;

	memset(ret_opts, 0, offsetof(struct seg_opts, sacks));
	if (options_is_timestamp(bytes, len))
		return options_take(bytes + 2, 10, ret_opts);
	while (i < len) {
		if (bytes[i] == OPT_END)
			return true;
		if (bytes[i] == OPT_NOP) {
			i++;
			continue;
		}
		if (i + 2 > len || bytes[i + 1] < 2 || i + bytes[i + 1] > len)
			return false;
		if (!options_take(bytes + i, bytes[i + 1], ret_opts))
			return false;
		i += bytes[i + 1];
	}
	return true;
}

static uint8_t *options_write_sacks(uint8_t *p, const struct seg_opts *opts)
{
	*p++ = OPT_NOP;
	*p++ = OPT_NOP;
	*p++ = OPT_SACK;
	*p++ = (uint8_t)(2 + 8 * opts->n_sacks);
	for (uint8_t i = 0; i < opts->n_sacks; i++) {
		be32_store(p, opts->sacks[i].start);
		be32_store(p + 4, opts->sacks[i].end);
		p += 8;
	}
	return p;
}

uint32_t options_write(uint8_t *buf, const struct seg_opts *opts)
{
	uint8_t *p = buf;

	if (opts->has_mss) {
		*p++ = OPT_MSS;
		*p++ = 4;
		be16_store(p, opts->mss);
		p += 2;
	}
	if (opts->has_ts) {
		*p++ = OPT_NOP;
		*p++ = OPT_NOP;
		*p++ = OPT_TS;
		*p++ = 10;
		be32_store(p, opts->tsval);
		be32_store(p + 4, opts->tsecr);
		p += 8;
	}
	if (opts->has_wscale) {
		*p++ = OPT_NOP;
		*p++ = OPT_WSCALE;
		*p++ = 3;
		*p++ = opts->wscale;
	}
	if (opts->sack_ok) {
		*p++ = OPT_NOP;
		*p++ = OPT_NOP;
		*p++ = OPT_SACK_OK;
		*p++ = 2;
	}
	if (opts->n_sacks)
		p = options_write_sacks(p, opts);
	return (uint32_t)(p - buf);
}
