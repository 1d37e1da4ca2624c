/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters - everything the stack counts, in one table.
 *
 * The enum, the help texts, xtcpctl's tables and the metrics all come from it.
 * Each drop and each refusal has a name (I7).
 */
#ifndef XTCP_STACK_COUNTERS_H
#define XTCP_STACK_COUNTERS_H

#define STACK_COUNTERS(C)                                                         \
	C(segs_in, "TCP segments received")                                       \
	C(segs_out, "TCP segments sent")                                          \
	C(segs_retransmitted, "data segments sent again")                         \
	C(pure_acks_out,                                                          \
	  "segments sent that carry nothing but an acknowledgement")              \
	C(pure_acks_saved,                                                        \
	  "replies that carried the acknowledgement of a request")                \
	C(bytes_in, "payload bytes received in sequence")                         \
	C(bytes_out, "payload bytes sent, each counted once")                     \
	C(msgs_in, "segments that brought new payload in sequence")               \
	C(msgs_out, "replies and pushes taken from applications")                 \
	C(conn_accepted, "connections established")                               \
	C(conn_refused, "connection requests refused with a RST")                 \
	C(recovered_connections,                                                  \
	  "connections taken over from a process that died or ended")             \
	C(lost_in_recovery,                                                       \
	  "of these, such as were torn or had no group any more: reset")          \
	C(recover_torn, "records that no kill explains, dropped")                 \
	C(cookies_sent, "SYNs answered with a cookie instead of a record")        \
	C(cookies_accepted, "connections established by a cookie")                \
	C(cookies_failed, "ACKs for no connection that were no cookie")           \
	C(conn_reset_in, "connections ended by a RST of the client")              \
	C(conn_reset_out, "connections ended by a RST of ours")                   \
	C(conn_timed_out,                                                         \
	  "connections given up: no acknowledgement in user-timeout")             \
	C(conn_idle_closed, "connections closed by idle-timeout")                 \
	C(conn_keepalive_dead,                                                    \
	  "connections given up: keepalive probes unanswered")                    \
	C(conn_handshake_expired, "half-open connections given up")               \
	C(conn_accept_expired, "connections refused: accept-timeout passed")      \
	C(early_ack_bytes,                                                        \
	  "bytes acknowledged before the application did (ack-window, deadline)") \
	C(early_ack_deadline, "times that ack-deadline acknowledged")             \
	C(early_ack_window, "times that ack-window acknowledged")                 \
	C(dup_absorbed, "retransmissions of held requests absorbed")              \
	C(reply_resent,                                                           \
	  "cached replies sent again upon a retransmitted request")               \
	C(rto_fired, "retransmission time-outs")                                  \
	C(fast_retransmits, "fast retransmissions")                               \
	C(zero_window_probes, "window probes sent")                               \
	C(keepalive_probes, "keepalive probes sent")                              \
	C(dup_acks_in, "duplicate acknowledgements received")                     \
	C(tlp_probes, "tail loss probes sent")                                    \
	C(rexmits_lost, "retransmissions that were lost in turn")                 \
	C(reordering_seen, "connections on which reordering was seen")            \
	C(undone_recoveries, "window reductions undone: nothing was lost")        \
	C(undone_timeouts, "time-outs undone: nothing was lost")                  \
	C(dsack_in, "segments of ours that clients reported to have twice")       \
	C(dsack_out, "segments received twice and reported")                      \
	C(sack_invalid, "SACK blocks beyond what was sent")                       \
	C(sack_reneged, "clients that dropped what they had SACKed")              \
	C(ecn_marked, "segments received with a congestion mark")                 \
	C(ecn_echoed, "windows reduced as a congestion mark came back")           \
	C(flight_full, "sending stopped: bound of segments in flight")            \
	C(ooo_segs, "segments received out of order and kept")                    \
	C(paws_dropped, "segments dropped by PAWS")                               \
	C(challenge_acks, "challenge acknowledgements sent")                      \
	C(challenge_suppressed, "challenge acknowledgements not sent: limit")     \
	C(oow_suppressed,                                                         \
	  "acknowledgements of unacceptable segments not sent: limit")            \
	C(throttle_entered, "times that a pool went over throttle-high")          \
	C(throttle_left, "times that a pool fell under throttle-low")             \
	C(throttle_withheld, "acknowledgements withheld while throttled")         \
	C(icmp_echo, "echo requests answered")                                    \
	C(icmp_ignored, "ICMP messages ignored")                                  \
	C(icmp_source_quench, "source quenches ignored")                          \
	C(icmp_bad_quote,                                                         \
	  "ICMP errors ignored: they quote nothing that we sent")                 \
	C(icmp_no_conn, "ICMP errors ignored: about no connection")               \
	C(icmp_no_flight,                                                         \
	  "ICMP errors ignored: the quoted segment is not in flight")             \
	C(icmp_soft_errors, "ICMP errors that may pass: noted only")              \
	C(icmp_hard_errors,                                                       \
	  "hard ICMP errors that an established connection outlived")             \
	C(icmp_handshakes_ended,                                                  \
	  "half-open connections ended by a hard ICMP error")                     \
	C(pmtu_lowered, "times that a packet-too-big lowered an MSS")             \
	C(pmtu_pending, "packet-too-bigs that wait for a time-out")               \
	C(pmtu_disproved,                                                         \
	  "packet-too-bigs given up: the segment was acknowledged")               \
	C(pmtu_ignored,                                                           \
	  "packet-too-bigs ignored: impossible, or they lower nothing")           \
	C(pmtu_black_holes,                                                       \
	  "times that time-outs of large segments lowered an MSS")                \
	C(pmtu_raised, "times that a lowered MSS was tried larger again")         \
	C(frags_kept, "fragments kept for reassembly")                            \
	C(frag_reassembled, "datagrams reassembled")                              \
	C(frag_duplicates, "fragments dropped: exact duplicates")                 \
	C(frag_timed_out, "datagrams dropped: fragments missing for too long")    \
	C(frag_evicted, "datagrams dropped half reassembled: no room")            \
	C(frag_source_limit,                                                      \
	  "datagrams dropped half reassembled: too many of one source")           \
	C(rst_out, "RSTs sent")                                                   \
	C(drop_short, "packets dropped: truncated")                               \
	C(drop_version, "packets dropped: neither IPv4 nor IPv6")                 \
	C(drop_ip_header, "packets dropped: contradictory IP header")             \
	C(drop_ip_checksum, "packets dropped: IPv4 header checksum")              \
	C(drop_ip_fragment, "packets dropped: fragments of fragments")            \
	C(drop_frag_header, "fragments dropped: empty, or of odd size")           \
	C(drop_frag_oversize, "datagrams dropped: fragments beyond the bound")    \
	C(drop_frag_overlap, "datagrams dropped: fragments overlap")              \
	C(drop_frag_tiny,                                                         \
	  "datagrams dropped: headers beyond the first fragment")                 \
	C(drop_frag_ecn, "datagrams dropped: fragments contradict in ECN")        \
	C(drop_frag_given_up, "fragments dropped: of a datagram given up")        \
	C(drop_frag_no_room, "fragments dropped: no room")                        \
	C(drop_ip_options,                                                        \
	  "packets dropped: source routes and unknown extension headers")         \
	C(drop_ip_protocol, "packets dropped: neither TCP nor ICMP")              \
	C(drop_not_vip, "packets dropped: for no address of ours")                \
	C(drop_not_own_port,                                                      \
	  "packets dropped: of the host's own, not for a port of ours")           \
	C(drop_bad_source, "packets dropped: from an impossible address")         \
	C(drop_tcp_header, "segments dropped: contradictory TCP header")          \
	C(drop_tcp_checksum, "segments dropped: checksum")                        \
	C(drop_tcp_flags, "segments dropped: impossible flags")                   \
	C(drop_tcp_options, "segments dropped: malformed options")                \
	C(drop_icmp_checksum, "ICMP messages dropped: checksum")                  \
	C(drop_no_conn, "segments for no connection, answered with a RST")        \
	C(drop_quiet, "segments for no connection, soon after a restart")         \
	C(drop_window, "segments outside the window")                             \
	C(drop_no_ack, "segments without ACK")                                    \
	C(drop_ack_range, "segments that acknowledge what was not sent")          \
	C(drop_closed_port, "SYNs to a port of no group")                         \
	C(drop_group_full,                                                        \
	  "SYNs refused: max-connections of every group reached")                 \
	C(drop_half_open, "SYNs dropped: too many half-open connections")         \
	C(drop_source_half_open,                                                  \
	  "SYNs dropped: too many half-open connections of one source")           \
	C(drop_source_full, "SYNs refused: max-per-source reached")               \
	C(time_wait_evicted,                                                      \
	  "connections in TIME-WAIT ended early: the arena was full")             \
	C(drop_no_record, "SYNs dropped: the arena is full")                      \
	C(drop_no_block, "segments dropped: no active block left")                \
	C(drop_pool_full,                                                         \
	  "segments dropped unseen: receive pool at its limit")                   \
	C(drop_ooo_limit,                                                         \
	  "segments dropped: out-of-order bound, or a throttled pool")            \
	C(drop_ooo_runs, "segments dropped: too many gaps before them")           \
	C(ooo_pruned, "out-of-order segments given up for text in sequence")      \
	C(drop_gone, "segments of a connection whose end is being told")          \
	C(drop_after_fin, "segments dropped: data after the client's FIN")        \
	C(drop_after_close, "data received after the application closed")         \
	C(syn_in_window, "SYNs within an established connection")                 \
	C(tx_full, "replies not taken: transmit buffer full")                     \
	C(tx_share_full,                                                          \
	  "replies not taken: the connection has its share of the buffer")        \
	C(conn_slow_reset,                                                        \
	  "connections reset: took too little while others needed the buffer")

enum stack_counter {
#define C(name, help) SC_##name,
	STACK_COUNTERS(C)
#undef C
		SC_COUNT
};

#endif
