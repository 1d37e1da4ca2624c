/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile packets: each has its counter, and nothing else happens. */
#include <string.h>

#include "../unit.h"
#include "rig.h"

static struct rig_client victim;

static void up(void)
{
	rig_up();
	memset(&victim, 0, sizeof(victim));
	rig_connect(&victim, 1000);
}

/* The innocent connection goes on undisturbed. */
static void down(void)
{
	char buf[64];

	rig.seen = rig.n_out;
	rig_send(&victim, "still here");
	ck_assert_uint_eq(rig_deliver(&victim, buf, sizeof(buf)), 10);
	rig_reply(&victim, 10, "good");
	ck_assert_uint_eq(rig_expect(&victim, TH_ACK | TH_PSH)->ack,
			  victim.snd_nxt);
	rig_down();
}

static uint32_t sum16(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Make the IPv4 header's checksum right again. */
static void fix_ip(uint8_t *p)
{
	uint32_t sum, len = (p[0] & 0xfu) * 4;

	p[10] = p[11] = 0;
	sum = ~sum16(p, len) & 0xffff;
	p[10] = (uint8_t)(sum >> 8);
	p[11] = (uint8_t)sum;
}

static void fix_tcp(uint8_t *p, uint32_t len)
{
	uint32_t hdr = (p[0] & 0xfu) * 4, sum;

	p[hdr + 16] = p[hdr + 17] = 0;
	sum = sum16(p + 12, 8) + 6 + (len - hdr) + sum16(p + hdr, len - hdr);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	p[hdr + 16] = (uint8_t)(sum >> 8);
	p[hdr + 17] = (uint8_t)sum;
}

struct spoil {
	const char *what;
	enum stack_counter counter;
	void (*how)(uint8_t *p, uint32_t *len);
};

static void spoil_empty(uint8_t *p, uint32_t *len)
{
	(void)p;
	*len = 0;
}

static void spoil_version(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[0] = 0x55;
}

static void spoil_short_ip(uint8_t *p, uint32_t *len)
{
	(void)p;
	*len = 19;
}

static void spoil_ihl(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[0] = 0x44;
}

static void spoil_ihl_beyond(uint8_t *p, uint32_t *len)
{
	p[0] = 0x4f;
	p[2] = 0;
	p[3] = 40;
	*len = 40;
}

static void spoil_total_beyond(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[2] = 0xff;
	fix_ip(p);
}

static void spoil_ip_checksum(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[10] ^= 1;
}

static void spoil_fragment(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[6] = 0x20;
	fix_ip(p);
}

static void spoil_protocol(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[9] = 17;
	fix_ip(p);
}

static void spoil_not_vip(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[19] = 99;
	fix_ip(p);
}

static void spoil_multicast_source(uint8_t *p, uint32_t *len)
{
	(void)len;
	p[12] = 224;
	fix_ip(p);
}

static void spoil_land(uint8_t *p, uint32_t *len)
{
	(void)len;
	memcpy(p + 12, p + 16, 4);
	fix_ip(p);
}

static void spoil_source_route(uint8_t *p, uint32_t *len)
{
	memmove(p + 24, p + 20, *len - 20);
	memcpy(p + 20, (uint8_t[]){ 131, 4, 4, 0 }, 4);
	*len += 4;
	p[0] = 0x46;
	p[3] = (uint8_t)*len;
	fix_ip(p);
}

static void spoil_short_tcp(uint8_t *p, uint32_t *len)
{
	*len = 39;
	p[3] = 39;
	fix_ip(p);
}

static void spoil_doff_small(uint8_t *p, uint32_t *len)
{
	p[32] = 0x40;
	fix_tcp(p, *len);
}

static void spoil_doff_beyond(uint8_t *p, uint32_t *len)
{
	p[32] = 0xf0;
	fix_tcp(p, *len);
}

static void spoil_tcp_checksum(uint8_t *p, uint32_t *len)
{
	p[*len - 1] ^= 1;
}

static void spoil_port_zero(uint8_t *p, uint32_t *len)
{
	p[20] = p[21] = 0;
	fix_tcp(p, *len);
}

static void spoil_syn_fin(uint8_t *p, uint32_t *len)
{
	p[33] = TH_SYN | TH_FIN;
	fix_tcp(p, *len);
}

static void spoil_no_flags(uint8_t *p, uint32_t *len)
{
	p[33] = 0;
	fix_tcp(p, *len);
}

static void spoil_xmas(uint8_t *p, uint32_t *len)
{
	p[33] = 0xff;
	fix_tcp(p, *len);
}

static void spoil_option_zero(uint8_t *p, uint32_t *len)
{
	p[43] = 0;
	fix_tcp(p, *len);
}

static void spoil_option_beyond(uint8_t *p, uint32_t *len)
{
	p[43] = 40;
	fix_tcp(p, *len);
}

static void spoil_option_size(uint8_t *p, uint32_t *len)
{
	p[42] = 3;
	fix_tcp(p, *len);
}

static const struct spoil spoils[] = {
	{ "nothing at all", SC_drop_short, spoil_empty },
	{ "IP version 5", SC_drop_version, spoil_version },
	{ "half an IP header", SC_drop_short, spoil_short_ip },
	{ "IHL of 16 bytes", SC_drop_ip_header, spoil_ihl },
	{ "IHL beyond the total", SC_drop_ip_header, spoil_ihl_beyond },
	{ "total length beyond the packet", SC_drop_short, spoil_total_beyond },
	{ "IP checksum", SC_drop_ip_checksum, spoil_ip_checksum },
	{ "a fragment of odd size", SC_drop_frag_header, spoil_fragment },
	{ "UDP", SC_drop_ip_protocol, spoil_protocol },
	{ "an address not ours", SC_drop_not_vip, spoil_not_vip },
	{ "from a multicast address", SC_drop_bad_source,
	  spoil_multicast_source },
	{ "from our own address", SC_drop_bad_source, spoil_land },
	{ "a source route", SC_drop_ip_options, spoil_source_route },
	{ "half a TCP header", SC_drop_short, spoil_short_tcp },
	{ "data offset of 16 bytes", SC_drop_tcp_header, spoil_doff_small },
	{ "data offset beyond the packet", SC_drop_tcp_header,
	  spoil_doff_beyond },
	{ "TCP checksum", SC_drop_tcp_checksum, spoil_tcp_checksum },
	{ "port 0", SC_drop_tcp_header, spoil_port_zero },
	{ "SYN with FIN", SC_drop_tcp_flags, spoil_syn_fin },
	{ "no flags", SC_drop_tcp_flags, spoil_no_flags },
	{ "all flags", SC_drop_tcp_flags, spoil_xmas },
	{ "an option of length 0", SC_drop_tcp_options, spoil_option_zero },
	{ "an option beyond the header", SC_drop_tcp_options,
	  spoil_option_beyond },
	{ "a window scale of 10 bytes", SC_drop_tcp_options,
	  spoil_option_size },
};

START_TEST(test_each_spoiled_packet_has_its_counter)
{
	const struct spoil *s = &spoils[_i];
	struct rig_seg data = { .flags = TH_ACK | TH_PSH,
				.data = "abcd",
				.len = 4 };
	uint8_t buf[256] = { 0 };
	uint32_t len;

	data.seq = victim.snd_nxt;
	data.ack = victim.rcv_nxt;
	len = rig_build(&victim, &data, buf);
	s->how(buf, &len);
	rig_packet(buf, len);
	ck_assert_msg(rig_counter(s->counter) == 1, "%s: counter stays at %llu",
		      s->what, (unsigned long long)rig_counter(s->counter));
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_bytes_in), 0);
}
END_TEST

/* Any prefix of a good packet, and any single byte changed, does no harm. */
START_TEST(test_truncated_and_bent_packets_do_no_harm)
{
	struct rig_seg data = { .flags = TH_ACK | TH_PSH,
				.data = "abcd",
				.len = 4 };
	uint8_t good[256], buf[256];
	uint32_t len;

	victim.v6 = _i;
	data.seq = victim.snd_nxt;
	data.ack = victim.rcv_nxt;
	len = rig_build(&victim, &data, good);
	for (uint32_t cut = 0; cut < len; cut++)
		rig_packet(good, cut);
	for (uint32_t at = 0; at < len * 8; at++) {
		memcpy(buf, good, len);
		buf[at / 8] ^= (uint8_t)(1 << at % 8);
		rig_packet(buf, len);
	}
	victim.v6 = false;
	ck_assert_uint_eq(rig_counter(SC_bytes_in), 0);
}
END_TEST

UNIT_MAIN("stack/parse",
	  UNIT_LOOP("spoiled", (int)(sizeof(spoils) / sizeof(spoils[0])), up,
		    down, test_each_spoiled_packet_has_its_counter),
	  UNIT_LOOP("bent", 2, up, down,
		    test_truncated_and_bent_packets_do_no_harm))
