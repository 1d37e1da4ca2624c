/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_COUNTERS_H
#define XTCP_TOOLS_SWARM_COUNTERS_H

/*
 * What is counted, and what is a violation: the tables that structures and
 * the report come from. The man page has all names.
 */

#include <stdint.h>

/* Each line: name in the report, and what it counts. */
#define SWARM_COUNTERS(X)                                                   \
	X(connects, "connections begun, those of churn too")                \
	X(connected, "handshakes completed")                                \
	X(failed, "connects that did not become a connection")              \
	X(refused, "of these, answered by a RST")                           \
	X(lost, "connections that ended though we did not end them")        \
	X(resets, "RSTs that ended or refused a connection")                \
	X(closed_by_peer, "FINs that came first")                           \
	X(closed, "connections that we ended, to the last ACK")             \
	X(close_timeouts, "that we ended, and the peer did not in time")    \
	X(churned, "connections closed and opened anew")                    \
	X(requests, "requests begun")                                       \
	X(not_begun, "that were due, and there was no idle client")         \
	X(exchanges, "requests answered and acknowledged")                  \
	X(unanswered, "requests given up, or not answered at the end")      \
	X(bytes_sent, "bytes of requests, each once")                       \
	X(bytes_received, "bytes of replies, each once")                    \
	X(segments_sent, "packets sent, before the kernel cuts them")       \
	X(segments_received, "packets read, after the kernel joined them")  \
	X(data_segments_received, "of these, with payload")                 \
	X(pure_acks, "received, nothing but an ACK, on open connections")   \
	X(pure_acks_sent, "sent")                                           \
	X(delayed_acks_sent, "of these, when their delay was over")         \
	X(replies_with_ack, "the first segment acknowledged the request")   \
	X(replies_after_ack, "the request had been acknowledged before")    \
	X(replies_before_ack, "acknowledged part of the request or none")   \
	X(retransmissions_sent, "segments that we sent again")              \
	X(retransmissions_seen, "segments with old bytes, SYNs and FINs")   \
	X(out_of_order, "segments beyond a gap, dropped")                   \
	X(duplicate_acks, "ACKs that said again what was said")             \
	X(keepalives, "probes answered")                                    \
	X(challenges, "segments in answer to a SYN that were none")         \
	X(ack_queue_full, "delayed ACKs sent at once for want of room")     \
	X(strays, "segments for clients that were never there or are gone") \
	X(other_packets, "not TCP, a fragment, or not of the server")       \
	X(flood_sent, "SYNs of the flood")

/* What a peer must never do. */
#define SWARM_VIOLATIONS(X)                                           \
	X(wrong_bytes, "the reply differs from the request")          \
	X(unexpected_bytes, "bytes that are part of no reply")        \
	X(ack_beyond_sent, "acknowledges what was never sent")        \
	X(ack_backwards, "acknowledges less than before")             \
	X(bad_syn_ack, "SYN-ACK with a wrong acknowledgement number") \
	X(beyond_window, "bytes beyond the window")                   \
	X(bad_checksum, "the TCP checksum is wrong")                  \
	X(malformed, "lengths or the checksum of the IP header are wrong")

#define SWARM_FIELD(name, text) uint64_t name;
struct swarm_counters {
	SWARM_COUNTERS(SWARM_FIELD)
};
#undef SWARM_FIELD

#define SWARM_ENUM(name, text) SWARM_VIOLATION_##name,
enum swarm_violation {
	SWARM_VIOLATIONS(SWARM_ENUM) SWARM_N_VIOLATIONS,
};
#undef SWARM_ENUM

#endif
