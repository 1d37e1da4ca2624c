/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters - what a worker counts besides its stack (stack/counters.h).
 *
 * One cell per worker, written by that worker alone. snapshot.h's
 * counter_name() and friends number the stack's counters first, then these.
 */
#ifndef XTCP_DAEMON_COUNTERS_H
#define XTCP_DAEMON_COUNTERS_H

#include "base/counter.h"
#include "stack/counters.h"

#define WORKER_COUNTERS(C)                                                        \
	C(tun_packets_in, "packets read from the TUN")                            \
	C(tun_packets_out, "packets written to the TUN")                          \
	C(tun_read_errors, "failed reads from the TUN")                           \
	C(tun_write_full, "packets dropped: the TUN's queue was full")            \
	C(tun_write_errors, "packets dropped: other failed writes to the TUN")    \
	C(handover_out,                                                           \
	  "packets handed to the worker that owns the connection")                \
	C(handover_in, "packets taken over from other workers")                   \
	C(handover_full,                                                          \
	  "packets dropped: the owner's handover ring was full")                  \
	C(handover_wakeups, "sleeping workers woken for a handed-over packet")    \
	C(backend_connects, "backend streams that were attached")                 \
	C(backend_connect_failed, "attempts to reach a backend that failed")      \
	C(backend_lost, "attached backend streams lost")                          \
	C(backend_silent, "backend streams given up: no PONG")                    \
	C(backend_stuck,                                                          \
	  "backend streams given up: requests in hand, no REPLY")                 \
	C(redelivered, "DATA frames with bytes that were delivered before")       \
	C(loss_undelivered,                                                       \
	  "connections whose requests were taken back from a lost stream")        \
	C(loss_reset, "connections reset because their backend was lost")         \
	C(group_removed, "connections ended because their group was removed")     \
	C(vip_removed, "connections ended because their address was removed")     \
	C(eof_redelivered,                                                        \
	  "ends of stream told again after a backend was lost")                   \
	C(conn_waited, "times that a connection had to wait for a backend")       \
	C(conn_not_told,                                                          \
	  "connections that ended before a backend heard of them")                \
	C(slot_scans,                                                             \
	  "scans of all records to make a stream slot usable again")              \
	C(frames_in, "frames received from backends")                             \
	C(frames_out, "frames sent to backends")                                  \
	C(frame_unknown_type,                                                     \
	  "streams closed: frame of unknown type or wrong direction")             \
	C(frame_bad_length,                                                       \
	  "streams closed: frame with a length out of bounds")                    \
	C(frame_bad_conn,                                                         \
	  "streams closed: frame with a connection id that cannot be")            \
	C(frame_bad_group, "streams closed: frame for another group")             \
	C(frame_bad_hello,                                                        \
	  "streams closed: HELLO or ATTACH out of order or contradictory")        \
	C(frame_over_credit,                                                      \
	  "streams closed: payload beyond the granted credit")                    \
	C(frame_ackd_beyond,                                                      \
	  "REPLY frames ignored: ackd beyond what was delivered")                 \
	C(frame_not_owner,                                                        \
	  "frames refused with RESET: from a stream that has not the connection") \
	C(frame_bad_state,                                                        \
	  "frames ignored: the connection is in no state for them")               \
	C(frame_stale_conn,                                                       \
	  "frames for connections that are gone, answered with RESET")            \
	C(frame_error_in, "ERROR frames received")                                \
	C(stream_stalled_tx,                                                      \
	  "times that a stream was not read on: reply could not be taken")        \
	C(stream_stalled_out,                                                     \
	  "times that a stream was not read on: its output was full")             \
	C(credit_sent, "CREDIT frames for a connection")                          \
	C(plain_connects,                                                         \
	  "connections to backends of protocol stream that were made")            \
	C(plain_reopened, "of these, for clients that had one before")            \
	C(plain_idle_closed,                                                      \
	  "connections to backends closed by stream-idle-close")                  \
	C(plain_no_socket,                                                        \
	  "times that a client had to wait: no descriptor, port or backlog")      \
	C(plain_refused,                                                          \
	  "clients reset: no backend of protocol stream could be reached")        \
	C(plain_broken,                                                           \
	  "clients reset: their connection to the backend broke")                 \
	C(plain_stuck, "of these, by backend-timeout")                            \
	C(plain_lost,                                                             \
	  "clients reset: xtcpd was restarted while they had a backend")          \
	C(plain_stalled,                                                          \
	  "times that a backend was not read on: its client takes no more")

enum worker_counter {
#define C(name, help) WC_##name,
	WORKER_COUNTERS(C)
#undef C
		WC_COUNT
};

#endif
