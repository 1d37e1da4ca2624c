/* SPDX-License-Identifier: BSD-2-Clause */
/* The text that says what a direction does: "delay=10ms,loss=1%,...". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/impair.h"

#define SPEC_TEXT_BYTES 1024u

struct unit {
	const char *name;
	double factor;
};

static const struct unit time_units[] = {
	{ "us", 1e3 },
	{ "ms", 1e6 },
	{ "s", 1e9 },
	{ NULL, 0 },
};
static const struct unit rate_units[] = {
	{ "bit", 1 },	 { "kbit", 1e3 }, { "mbit", 1e6 },
	{ "gbit", 1e9 }, { NULL, 0 },
};
static const struct unit byte_units[] = {
	{ "", 1 },
	{ "k", 1024 },
	{ "m", 1024 * 1024 },
	{ NULL, 0 },
};
static const struct unit chance_units[] = {
	{ "", 1 },
	{ "%", 0.01 },
	{ NULL, 0 },
};
static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };

/* A number with one of the units. Returns whether it is one, from 0 to max. */
static bool spec_number(const char *text, const struct unit *units, double max,
			double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text)
		return false;
	for (; units->name; units++) {
		if (strcmp(end, units->name) != 0)
			continue;
		*ret_value = value * units->factor;
		return *ret_value >= 0 && *ret_value <= max;
	}
	return false;
}

static bool spec_u64(const char *text, const struct unit *units, double max,
		     uint64_t *ret_value)
{
	double value;

	if (!spec_number(text, units, max, &value))
		return false;
	*ret_value = (uint64_t)value;
	return true;
}

static bool spec_chance(const char *text, double *ret_value)
{
	return spec_number(text, chance_units, 1, ret_value);
}

/* --- one function per key -------------------------------------------------- */

static bool spec_delay(struct impair_spec *s, char *text)
{
	return spec_u64(text, time_units, 60e9, &s->delay_ns);
}

static bool spec_jitter(struct impair_spec *s, char *text)
{
	return spec_u64(text, time_units, 60e9, &s->jitter_ns);
}

static bool spec_rate(struct impair_spec *s, char *text)
{
	return spec_u64(text, rate_units, 100e9, &s->rate_bps);
}

/* Bytes, or a time at the rate that stands before. */
static bool spec_queue_bytes(const struct impair_spec *s, const char *text,
			     uint64_t *ret_bytes)
{
	uint64_t ns;

	if (spec_u64(text, byte_units, 1e9, ret_bytes))
		return true;
	if (!s->rate_bps || !spec_u64(text, time_units, 60e9, &ns))
		return false;
	*ret_bytes = (uint64_t)((double)ns * (double)s->rate_bps / 8e9);
	return true;
}

static bool spec_queue(struct impair_spec *s, char *text)
{
	return spec_queue_bytes(s, text, &s->queue_bytes);
}

static bool spec_ce(struct impair_spec *s, char *text)
{
	return spec_queue_bytes(s, text, &s->ce_bytes);
}

static bool spec_loss(struct impair_spec *s, char *text)
{
	return spec_chance(text, &s->loss);
}

static bool spec_corrupt(struct impair_spec *s, char *text)
{
	return spec_chance(text, &s->corrupt);
}

static bool spec_dup(struct impair_spec *s, char *text)
{
	return spec_chance(text, &s->dup);
}

static bool spec_reorder(struct impair_spec *s, char *text)
{
	char *late = strchr(text, '/');

	if (!late)
		return false;
	*late++ = '\0';
	return spec_chance(text, &s->reorder) &&
	       spec_u64(late, time_units, 60e9, &s->reorder_ns);
}

static bool spec_burst(struct impair_spec *s, char *text)
{
	char *leave = strchr(text, '/'), *loss;

	if (!leave)
		return false;
	*leave++ = '\0';
	loss = strchr(leave, '/');
	if (loss)
		*loss++ = '\0';
	s->burst_loss = 1;
	return spec_chance(text, &s->burst_enter) &&
	       spec_chance(leave, &s->burst_leave) &&
	       (!loss || spec_chance(loss, &s->burst_loss));
}

static bool spec_mtu(struct impair_spec *s, char *text)
{
	char *how = strchr(text, '/');
	uint64_t mtu;

	if (how)
		*how++ = '\0';
	if (how && strcmp(how, "icmp") != 0)
		return false;
	if (!spec_u64(text, count_units, IMPAIR_PACKET_BYTES, &mtu))
		return false;
	s->mtu = (uint32_t)mtu;
	s->mtu_icmp = how != NULL;
	return true;
}

static bool spec_spare(struct impair_spec *s, char *text)
{
	return spec_u64(text, count_units, 1e15, &s->spare);
}

static bool spec_drop(struct impair_spec *s, char *text)
{
	char *save, *one = strtok_r(text, "+", &save);

	for (; one; one = strtok_r(NULL, "+", &save)) {
		if (s->n_drops == IMPAIR_DROPS ||
		    !spec_u64(one, count_units, 1e15, &s->drops[s->n_drops]))
			return false;
		s->n_drops++;
	}
	return s->n_drops > 0;
}

static const struct key {
	const char *name;
	bool (*read)(struct impair_spec *s, char *text);
} keys[] = {
	{ "delay", spec_delay }, { "jitter", spec_jitter },
	{ "rate", spec_rate },	 { "queue", spec_queue },
	{ "ce", spec_ce },	 { "loss", spec_loss },
	{ "burst", spec_burst }, { "corrupt", spec_corrupt },
	{ "dup", spec_dup },	 { "reorder", spec_reorder },
	{ "mtu", spec_mtu },	 { "spare", spec_spare },
	{ "drop", spec_drop },	 { NULL, NULL },
};

static bool spec_key(struct impair_spec *s, const char *name, char *value)
{
	for (const struct key *k = keys; k->name; k++)
		if (strcmp(k->name, name) == 0)
			return k->read(s, value);
	return false;
}

int impair_spec_parse(struct impair_spec *spec, const char *text, char *ret_why,
		      size_t size)
{
	char copy[SPEC_TEXT_BYTES], *save, *part, *value;

	if (strlen(text) >= sizeof(copy)) {
		snprintf(ret_why, size, "too long");
		return -EINVAL;
	}
	strcpy(copy, text);
	for (part = strtok_r(copy, ",", &save); part;
	     part = strtok_r(NULL, ",", &save)) {
		value = strchr(part, '=');
		if (value)
			*value++ = '\0';
		if (value && spec_key(spec, part, value))
			continue;
		snprintf(ret_why, size,
			 "%s: no such setting, or its value "
			 "can't be read",
			 part);
		return -EINVAL;
	}
	if (spec->rate_bps && !spec->queue_bytes) {
		snprintf(ret_why, size, "rate needs queue");
		return -EINVAL;
	}
	return 0;
}
