/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state - the states of RFC 9293 section 3.3.2, and which may follow which.
 *
 *	          SYN, accept = application
 *	(free) ------------------------------> SYN_HELD --accept--.
 *	   |   SYN                                |               v
 *	   '------------------------------------------------> SYN_RECEIVED
 *	                                                          | ACK
 *	      our FIN                              their FIN      v
 *	 FIN_WAIT_1 <------------ ESTABLISHED --------------> CLOSE_WAIT
 *	  |   |   '--their FIN--> CLOSING                         | our FIN
 *	  |   '--ACK--> FIN_WAIT_2   | ACK                     LAST_ACK
 *	  '--FIN+ACK--.   | FIN      |                            | ACK
 *	              '-> TIME_WAIT <'                          (free)
 *
 * Any state goes to GONE when the connection is reset or given up while the
 * daemon has yet to hear of it; GONE goes to free.
 */
#ifndef XTCP_STACK_STATE_H
#define XTCP_STACK_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum tcp_state {
	TCP_FREE, /* no connection */
	TCP_SYN_HELD, /* a SYN waits for the application's word (figure 6c) */
	TCP_SYN_RECEIVED,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT_1,
	TCP_FIN_WAIT_2,
	TCP_CLOSE_WAIT,
	TCP_CLOSING,
	TCP_LAST_ACK,
	TCP_TIME_WAIT, /* a bare record: no block; the clock hand ends it */
	TCP_GONE, /* kept for STACK_EV_RESET alone */
	TCP_STATES
};

/* ESTABLISHED to LAST_ACK: open, or on its way to be closed. */
static inline bool tcp_state_open(uint8_t state)
{
	return state >= TCP_ESTABLISHED && state < TCP_TIME_WAIT;
}

/* "ESTABLISHED"; "?" for a number that is no state. */
const char *tcp_state_name(uint8_t state);

/* Is the step from one to the other in the picture above? */
bool tcp_state_legal(uint8_t from, uint8_t to);

#endif
