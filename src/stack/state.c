/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/state.h"

static const char *const state_names[TCP_STATES] = {
	[TCP_FREE] = "FREE",
	[TCP_SYN_HELD] = "SYN-HELD",
	[TCP_SYN_RECEIVED] = "SYN-RECEIVED",
	[TCP_ESTABLISHED] = "ESTABLISHED",
	[TCP_FIN_WAIT_1] = "FIN-WAIT-1",
	[TCP_FIN_WAIT_2] = "FIN-WAIT-2",
	[TCP_CLOSE_WAIT] = "CLOSE-WAIT",
	[TCP_CLOSING] = "CLOSING",
	[TCP_LAST_ACK] = "LAST-ACK",
	[TCP_TIME_WAIT] = "TIME-WAIT",
	[TCP_GONE] = "GONE",
};

#define TO(state) (1u << (state))

/* By state: those that may follow. Each may also be given up: FREE, GONE. */
static const uint16_t state_next[TCP_STATES] = {
	[TCP_FREE] = TO(TCP_SYN_HELD) | TO(TCP_SYN_RECEIVED),
	[TCP_SYN_HELD] = TO(TCP_SYN_RECEIVED) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_SYN_RECEIVED] = TO(TCP_ESTABLISHED) | TO(TCP_FIN_WAIT_1) |
			     TO(TCP_CLOSE_WAIT) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_ESTABLISHED] = TO(TCP_FIN_WAIT_1) | TO(TCP_CLOSE_WAIT) |
			    TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_FIN_WAIT_1] = TO(TCP_FIN_WAIT_2) | TO(TCP_CLOSING) |
			   TO(TCP_TIME_WAIT) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_FIN_WAIT_2] = TO(TCP_TIME_WAIT) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_CLOSE_WAIT] = TO(TCP_LAST_ACK) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_CLOSING] = TO(TCP_TIME_WAIT) | TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_LAST_ACK] = TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_TIME_WAIT] = TO(TCP_GONE) | TO(TCP_FREE),
	[TCP_GONE] = TO(TCP_FREE),
};

const char *tcp_state_name(uint8_t state)
{
	return state < TCP_STATES ? state_names[state] : "?";
}

bool tcp_state_legal(uint8_t from, uint8_t to)
{
	return from < TCP_STATES && to < TCP_STATES &&
	       (state_next[from] & TO(to));
}
