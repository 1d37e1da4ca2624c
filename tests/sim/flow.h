/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flow - one connection as an all-knowing observer sees it: what both ends
 * are going to say, what was said, and what the stack has promised.
 *
 * Both ends follow one script: item i is a request of q bytes and its reply of
 * p bytes (q 0: the backend speaks unasked). Bytes are a function of key and
 * position, so nobody has to remember any. Positions are those of the byte
 * streams; a FIN stands at the stream's length.
 */
#ifndef XTCP_SIM_FLOW_H
#define XTCP_SIM_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"

#define FLOW_ITEMS_MAX 24u

struct item {
	uint32_t q, p; /* bytes */
	uint32_t think_us; /* of the client, before the request */
	uint32_t serve_us; /* of the backend, before the reply */
};

enum ending {
	END_IDLE, /* stays open */
	END_CLIENT, /* the client closes after the last reply */
	END_HALF, /* the client closes after the last request */
	END_BACKEND, /* the backend closes with the last reply */
	END_BACKEND_FIN, /* it half-closes then */
	END_BOTH, /* both of these at once */
	END_RST, /* the client resets at some point */
	END_VANISH, /* it falls silent at some point */
	END_ABORT, /* the backend aborts after the last reply */
	END_REJECT, /* the backend does not accept */
	END_COUNT
};

struct flow {
	uint32_t no;
	struct client c;
	uint64_t req_key, rep_key;
	struct item items[FLOW_ITEMS_MAX];
	uint32_t n_items;
	uint64_t q_end[FLOW_ITEMS_MAX + 1], r_end[FLOW_ITEMS_MAX + 1];
	enum ending ending;
	uint32_t depth; /* requests that may be unanswered */

	/* The record, once there is one. */
	bool known, gone;
	bool reborn; /* an old SYN made another record */
	uint32_t ri, generation;
	uint64_t conn_id;
	uint32_t irs, iss;

	/* What the backends did; upper bounds. */
	uint64_t app_acked; /* request bytes that they said were processed */
	uint64_t delivered; /* request bytes that one of them has read */
	uint64_t replied; /* reply bytes that they sent */
	bool accept_said; /* one answered an OPEN that waited */
	bool close_said; /* one sent CLOSE */
	bool fin_said; /* one sent CLOSE or FIN: the stream ends at fin_at */
	uint64_t fin_at;
	bool eof_told;
	uint64_t served_by; /* instance of the process that was given bytes */

	/* What the stack said. */
	bool synack_seen, ws_on, ts_on, sack_on;
	uint8_t srv_ws;
	uint64_t wire_acked; /* request bytes, without the FIN */
	bool fin_acked;
	uint64_t wire_sent; /* reply bytes, at least once */
	uint32_t edge; /* right edge of its window, a sequence number */
	bool edge_set, edge_of_synack;
	uint32_t promised; /* likewise, by a process before this one */
	bool promised_set;
	uint32_t last_tsval, last_tsecr;
	bool tsval_set;
	/* The head is sent again, and nothing was heard in between. */
	int64_t rtx_pos;
	uint32_t rtx_n;
	uint64_t rtx_at_us, rtx_gap_us, rtx_heard, heard;

	/* What the stack was told, genuine segments only. */
	uint32_t snd_edge; /* right edge of the client's window */
	uint32_t in_tsval; /* newest timestamp that came in */
	bool in_tsval_set;

	/* May end early, or at all: why; NULL when it must be perfect. */
	const char *excuse;
	bool over; /* nothing more is expected of it */
	uint64_t over_at_us;
};

static inline uint64_t flow_q_total(const struct flow *f)
{
	return f->q_end[f->n_items];
}

static inline uint64_t flow_r_total(const struct flow *f)
{
	return f->r_end[f->n_items];
}

#endif
