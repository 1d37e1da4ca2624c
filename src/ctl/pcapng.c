/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcapng - blocks of a capture file.
 *
 * A block is its type and length, a body, and the length again; options in the
 * body are a code, a length and a value padded to four bytes, up to an end of
 * options. Blocks but for packets are small: they are put together in memory.
 */
#include "ctl/pcapng.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum pcapng_block {
	PCAPNG_INTERFACE = 1,
	PCAPNG_STATISTICS = 5,
	PCAPNG_PACKET = 6,
	PCAPNG_SECTION = 0x0a0d0d0a,
};

enum pcapng_option {
	PCAPNG_OPT_END = 0,
	PCAPNG_SHB_USERAPPL = 4,
	PCAPNG_IF_NAME = 2,
	PCAPNG_IF_TSRESOL = 9,
	PCAPNG_IF_FILTER = 11,
	PCAPNG_EPB_FLAGS = 2,
	PCAPNG_EPB_QUEUE = 6,
	PCAPNG_ISB_IFRECV = 4,
	PCAPNG_ISB_FILTERACCEPT = 6,
	PCAPNG_ISB_OSDROP = 7,
	PCAPNG_ISB_USRDELIV = 8,
};

#define PCAPNG_BYTE_ORDER 0x1a2b3c4du
#define PCAPNG_RESOLUTION 9 /* 10^-9 s */
#define PCAPNG_TEXT_MAX 1024u

/* A block's body without the packet. */
struct pcapng_body {
	uint8_t bytes[8192];
	uint32_t n;
};

static void pcapng_put(struct pcapng_body *b, const void *data, size_t n)
{
	static const uint8_t zero[4];
	size_t pad = round_up(n, 4) - n;

	assert(b->n + n + pad <= sizeof(b->bytes));
	if (n > 0)
		memcpy(b->bytes + b->n, data, n);
	memcpy(b->bytes + b->n + n, zero, pad);
	b->n += (uint32_t)(n + pad);
}

static void pcapng_put_u32(struct pcapng_body *b, uint32_t v)
{
	pcapng_put(b, &v, sizeof(v));
}

static void pcapng_put_time(struct pcapng_body *b, uint64_t at_ns)
{
	pcapng_put_u32(b, (uint32_t)(at_ns >> 32));
	pcapng_put_u32(b, (uint32_t)at_ns);
}

static void pcapng_option(struct pcapng_body *b, enum pcapng_option code,
			  const void *data, size_t n)
{
	const uint16_t head[2] = { (uint16_t)code, (uint16_t)n };

	pcapng_put(b, head, sizeof(head));
	pcapng_put(b, data, n);
}

static void pcapng_option_u64(struct pcapng_body *b, enum pcapng_option code,
			      uint64_t v)
{
	pcapng_option(b, code, &v, sizeof(v));
}

static void pcapng_option_text(struct pcapng_body *b, enum pcapng_option code,
			       const char *text)
{
	pcapng_option(b, code, text, min_size(strlen(text), PCAPNG_TEXT_MAX));
}

/* The block: body, then data padded to four bytes, then options. */
static int pcapng_write(FILE *out, enum pcapng_block type,
			const struct pcapng_body *body, const void *data,
			uint32_t bytes, const struct pcapng_body *options)
{
	static const uint8_t zero[4];
	uint32_t pad = (uint32_t)round_up(bytes, 4) - bytes;
	uint32_t len = 12 + body->n + bytes + pad + options->n;
	const uint32_t head[2] = { (uint32_t)type, len };

	fwrite(head, sizeof(head), 1, out);
	fwrite(body->bytes, 1, body->n, out);
	if (bytes)
		fwrite(data, 1, bytes, out);
	fwrite(zero, 1, pad, out);
	fwrite(options->bytes, 1, options->n, out);
	fwrite(&len, sizeof(len), 1, out);
	return ferror(out) ? (errno ? -errno : -EIO) : 0;
}

static int pcapng_section(FILE *out, const char *application)
{
	struct pcapng_body body = { .n = 0 }, options = { .n = 0 };
	const uint16_t version[2] = { 1, 0 };

	pcapng_put_u32(&body, PCAPNG_BYTE_ORDER);
	pcapng_put(&body, version, sizeof(version));
	/* the section's length is not known */
	pcapng_put_u32(&body, UINT32_MAX);
	pcapng_put_u32(&body, UINT32_MAX);
	pcapng_option_text(&options, PCAPNG_SHB_USERAPPL, application);
	pcapng_option(&options, PCAPNG_OPT_END, NULL, 0);
	return pcapng_write(out, PCAPNG_SECTION, &body, NULL, 0, &options);
}

int pcapng_begin(FILE *out, const char *application,
		 const struct pcapng_interface *interface)
{
	struct pcapng_body body = { .n = 0 }, options = { .n = 0 };
	const uint16_t linktype[2] = { interface->linktype, 0 };
	const uint8_t resolution = PCAPNG_RESOLUTION;
	char filter[PCAPNG_TEXT_MAX + 2];
	int err = pcapng_section(out, application);

	if (err < 0)
		return err;
	pcapng_put(&body, linktype, sizeof(linktype));
	pcapng_put_u32(&body, interface->snaplen);
	pcapng_option_text(&options, PCAPNG_IF_NAME, interface->name);
	pcapng_option(&options, PCAPNG_IF_TSRESOL, &resolution, 1);
	if (interface->filter[0] != '\0') {
		/* its first byte says that libpcap's language follows */
		filter[0] = 0;
		snprintf(filter + 1, sizeof(filter) - 1, "%s",
			 interface->filter);
		pcapng_option(&options, PCAPNG_IF_FILTER, filter,
			      1 + strlen(filter + 1));
	}
	pcapng_option(&options, PCAPNG_OPT_END, NULL, 0);
	return pcapng_write(out, PCAPNG_INTERFACE, &body, NULL, 0, &options);
}

int pcapng_packet(FILE *out, const struct capture_packet *packet,
		  const void *data, uint32_t bytes)
{
	struct pcapng_body body = { .n = 0 }, options = { .n = 0 };
	/* bits 0 and 1: 1 is inbound, 2 outbound */
	const uint32_t flags = packet->direction & 3;
	const uint32_t queue = packet->worker;

	pcapng_put_u32(&body, 0); /* the interface */
	pcapng_put_time(&body, packet->at_ns);
	pcapng_put_u32(&body, bytes);
	pcapng_put_u32(&body, packet->original_bytes);
	pcapng_option(&options, PCAPNG_EPB_FLAGS, &flags, sizeof(flags));
	pcapng_option(&options, PCAPNG_EPB_QUEUE, &queue, sizeof(queue));
	pcapng_option(&options, PCAPNG_OPT_END, NULL, 0);
	return pcapng_write(out, PCAPNG_PACKET, &body, data, bytes, &options);
}

int pcapng_end(FILE *out, const struct capture_end *end, uint64_t at_ns)
{
	struct pcapng_body body = { .n = 0 }, options = { .n = 0 };

	pcapng_put_u32(&body, 0);
	pcapng_put_time(&body, at_ns);
	pcapng_option_u64(&options, PCAPNG_ISB_IFRECV, end->seen);
	pcapng_option_u64(&options, PCAPNG_ISB_FILTERACCEPT, end->matched);
	pcapng_option_u64(&options, PCAPNG_ISB_OSDROP, end->dropped);
	pcapng_option_u64(&options, PCAPNG_ISB_USRDELIV, end->delivered);
	pcapng_option(&options, PCAPNG_OPT_END, NULL, 0);
	return pcapng_write(out, PCAPNG_STATISTICS, &body, NULL, 0, &options);
}
