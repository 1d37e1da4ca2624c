/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void sim_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->reason, sizeof(w->reason), fmt, ap);
	va_end(ap);
	sim_say(w, "FAILED: %s", w->reason);
	longjmp(*w->fail_jump, 1);
}

void sim_say(struct world *w, const char *fmt, ...)
{
	uint64_t t = w->now_us - w->sc.start_us;
	va_list ap;

	if (!w->verbose)
		return;
	printf("%5llu.%06llu ", (unsigned long long)(t / 1000000),
	       (unsigned long long)(t % 1000000));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void trace_flags(uint8_t flags, char *text)
{
	static const char names[] = "FSRPAUEC";

	for (int i = 0; i < 8; i++)
		if (flags >> i & 1)
			*text++ = names[i];
	*text = '\0';
}

static void trace_sacks(const struct wire *s, uint32_t base, char *text,
			size_t size)
{
	*text = '\0';
	for (uint32_t i = 0; i < s->n_sacks; i++) {
		size_t n = strlen(text);

		snprintf(text + n, size - n, " {%d:%d}",
			 (int)(s->sacks[i].left - base),
			 (int)(s->sacks[i].right - base));
	}
}

/* Numbers are relative to the SYNs. */
static void trace_line(struct world *w, const char *what, const struct flow *f,
		       const struct wire *s)
{
	bool ours = f && s->sport == SIM_PORT;
	uint32_t irs = f ? f->c.iss + 1 : 0, iss = f ? f->iss + 1 : 0;
	char flags[9], sacks[128], ts[48] = "";

	if (f && !f->known)
		iss = ours ? s->seq + 1 : f->c.irs + 1;
	trace_flags(s->flags, flags);
	trace_sacks(s, ours ? irs : iss, sacks, sizeof(sacks));
	if (s->has_ts)
		snprintf(ts, sizeof(ts), " ts %u %u", s->tsval, s->tsecr);
	sim_say(w, "%-9s #%u %s %s %d:%d(%u) ack %d win %u%s%s%s", what,
		f ? f->no : 0, ours ? "<" : ">", flags,
		(int)(s->seq - (ours ? iss : irs)),
		(int)(s->seq - (ours ? iss : irs) + s->len), s->len,
		s->flags & WF_ACK ? (int)(s->ack - (ours ? irs : iss)) : 0,
		s->wnd, ts, sacks, s->ecn == WE_CE ? " CE" : "");
}

static void trace_pcap(struct world *w, const uint8_t *bytes, uint32_t len)
{
	uint32_t head[4] = { (uint32_t)(w->now_us / 1000000),
			     (uint32_t)(w->now_us % 1000000), len, len };

	fwrite(head, sizeof(head), 1, w->pcap);
	fwrite(bytes, len, 1, w->pcap);
}

void trace_pcap_open(struct world *w, const char *path)
{
	/* Raw IP, microseconds, this machine's byte order. */
	static const uint32_t head[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0,
					  0,	      65535,	   101 };

	w->pcap = fopen(path, "wb");
	if (!w->pcap) {
		perror(path);
		exit(2);
	}
	fwrite(head, sizeof(head), 1, w->pcap);
}

void trace_packet(struct world *w, const char *what, const struct flow *f,
		  const uint8_t *bytes, uint32_t len)
{
	const char *wrong;
	struct wire s;

	if (w->pcap && (!strcmp(what, "in") || !strcmp(what, "out")))
		trace_pcap(w, bytes, len);
	if (!w->verbose)
		return;
	wrong = wire_parse(bytes, len, &s);
	if (wrong)
		sim_say(w, "%-9s #%u bad packet of %u: %s", what, f ? f->no : 0,
			len, wrong);
	else if (s.icmp || s.fragment)
		sim_say(w, "%-9s #%u %s, %u bytes", what, f ? f->no : 0,
			s.icmp ? "ICMP" : "fragment", len);
	else
		trace_line(w, what, f, &s);
}
