/* SPDX-License-Identifier: BSD-2-Clause */
#include "kill/instants.h"

#include "base/bytes.h"

static const struct instants_op ops_exchange[] = {
	{ OP_SYN, 0, 0 },	 { OP_HANDSHAKE_ACK, 0, 0 },
	{ OP_TEXT, 300, 0 },	 { OP_TEXT, 100, 0 },
	{ OP_DELIVER, 0, 0 },	 { OP_REPLY, 400, 400 },
	{ OP_CLIENT_ACK, 0, 0 }, { OP_PASS, 2000, 0 }, /* at rest */
	{ OP_TEXT, 1200, 0 },	 { OP_DELIVER, 700, 0 },
	{ OP_REPLY, 600, 0 },	 { OP_DELIVER, 0, 0 },
	{ OP_REPLY, 100, 1500 }, { OP_CLIENT_ACK, 500, 0 },
	{ OP_REPLY, 500, 1000 }, { OP_CLIENT_AGAIN, 100, 0 },
	{ OP_CLIENT_ACK, 0, 0 }, { OP_PASS, 2000, 0 },
	{ OP_CLIENT_FIN, 0, 0 }, { OP_SHUTDOWN, 0, 0 },
	{ OP_CLIENT_ACK, 0, 0 }, { OP_END, 0, 0 },
};

static const struct instants_op ops_gaps[] = {
	{ OP_SYN, 0, 0 },
	{ OP_HANDSHAKE_ACK, 0, 0 },
	{ OP_TEXT, 400, 900 }, /* beyond a gap */
	{ OP_TEXT, 300, 300 },
	{ OP_TEXT, 300, 600 }, /* joins the two */
	{ OP_TEXT, 350, 0 }, /* fills the gap, and overlaps */
	{ OP_TEXT, 100, 700 },
	{ OP_DELIVER, 200, 0 },
	{ OP_REPLY, 150, 2500 },
	{ OP_CLIENT_ACK, 1200, 0 },
	{ OP_TEXT, 950, 0 },
	{ OP_DELIVER, 0, 0 },
	{ OP_REPLY, 900, 100 },
	{ OP_PASS, 400, 0 }, /* the retransmission timer */
	{ OP_CLIENT_ACK, 0, 0 },
	{ OP_REPLY, 250, 10 },
	{ OP_SHUTDOWN, 0, 0 },
	{ OP_CLIENT_ACK, 0, 0 },
	{ OP_CLIENT_FIN, 0, 0 },
	{ OP_END, 0, 0 },
};

static const struct instants_op
	ops_cookie[] = {
		{ OP_SYN, 0, 0 },
		{ OP_TEXT, 200, 0 }, /* the handshake's last ACK was lost */
		{ OP_DELIVER, 0, 0 },
		{ OP_REPLY, 200, 200 },
		{ OP_CLIENT_ACK, 0, 0 },
		{ OP_CLOSE, 0, 0 },
		{ OP_CLIENT_ACK, 0, 0 },
		{ OP_CLIENT_FIN, 0, 0 },
		{ OP_END, 0, 0 },
	};

static const struct instants_op ops_held[] = {
	{ OP_SYN, 0, 0 },	    { OP_ACCEPT, 0, 0 },
	{ OP_REPLY, 0, 250 }, /* before the handshake is done */
	{ OP_HANDSHAKE_ACK, 0, 0 }, { OP_CLIENT_ACK, 0, 0 },
	{ OP_TEXT, 50, 0 },	    { OP_DELIVER, 0, 0 },
	{ OP_REPLY, 50, 60 },	    { OP_CLIENT_FIN, 0, 0 },
	{ OP_CLIENT_ACK, 0, 0 },    { OP_SHUTDOWN, 0, 0 },
	{ OP_CLIENT_ACK, 0, 0 },    { OP_END, 0, 0 },
};

static const struct instants_op ops_abort[] = {
	{ OP_SYN, 0, 0 },	{ OP_HANDSHAKE_ACK, 0, 0 },
	{ OP_TEXT, 1400, 0 },	{ OP_TEXT, 300, 200 },
	{ OP_DELIVER, 900, 0 }, { OP_REPLY, 600, 2000 },
	{ OP_ABORT, 0, 0 },	{ OP_END, 0, 0 },
};

static const struct instants_op ops_reset[] = {
	{ OP_SYN, 0, 0 },	 { OP_HANDSHAKE_ACK, 0, 0 },
	{ OP_TEXT, 1400, 0 },	 { OP_DELIVER, 900, 0 },
	{ OP_REPLY, 600, 2000 }, { OP_CLIENT_ACK, 0, 0 },
	{ OP_CLIENT_RST, 0, 0 }, { OP_END, 0, 0 },
};

const struct instants_script instants_scripts[] = {
	{ .name = "exchange", .ack = STACK_ACK_DEFERRED, .ops = ops_exchange },
	{ .name = "exchange-immediate",
	  .ack = STACK_ACK_IMMEDIATE,
	  .ops = ops_exchange },
	{ .name = "exchange-delivered",
	  .ack = STACK_ACK_DELIVERED,
	  .ops = ops_exchange },
	{ .name = "gaps", .ack = STACK_ACK_DEFERRED, .ops = ops_gaps },
	{ .name = "gaps-immediate",
	  .ack = STACK_ACK_IMMEDIATE,
	  .ops = ops_gaps },
	{ .name = "cookie", .cookies = true, .ops = ops_cookie },
	{ .name = "held", .held = true, .ops = ops_held },
	{ .name = "abort", .ops = ops_abort },
	{ .name = "client-reset", .ops = ops_reset },
};

const uint32_t instants_n_scripts = ARRAY_SIZE(instants_scripts);
